from __future__ import annotations

from pathlib import Path

import pytest

from variantforge.plan.build import Draft
from variantforge.plan.pin import Resolver
from variantforge.spec.family import FamilySpec
from variantforge.spec.inherit import inherit
from variantforge.stages.quantize import QUANTIZERS
from variantforge.stages.quantize import stage as quantize_stage
from variantforge.stages.quantize.machine import Accepted, Answer, Demanding, Machine, Rejected, look
from variantforge.stages.stage import Place
from variantforge.step import Step

FULL = Machine(
    {"bitsandbytes": "0.50.2", "compressed-tensors": "0.20.0", "libgguf": "0.2.2", "gguf": "0.19.0"}, cards=("0000:01",)
)
BARE = Machine()


def answer(method: str, machine: Machine) -> Answer:
    quantizer = QUANTIZERS.load(method)()
    assert isinstance(quantizer, Demanding)
    return quantizer.answer(machine)


@pytest.mark.parametrize("method", list(QUANTIZERS))
def test_a_full_machine_is_accepted_by_all_with_what_does_the_work(method: str) -> None:
    found = answer(method, FULL)
    assert isinstance(found, Accepted)
    assert found.by


@pytest.mark.parametrize(
    ("method", "reason", "next"),
    [
        ("nf4", "bitsandbytes is not installed", "pip install 'variantforge[qlora]'"),
        ("int8", "bitsandbytes is not installed", "pip install 'variantforge[qlora]'"),
        ("fp8", "compressed-tensors is not installed", "pip install 'variantforge[compressed]'"),
        ("w4a16", "compressed-tensors is not installed", "pip install 'variantforge[compressed]'"),
        ("gguf", "libgguf is not installed", "pip install 'variantforge[gguf]'"),
        (
            "awq",
            "awq needs a CUDA device, and this machine has none",
            "write gptq or w4a16 instead, which need none, or run this family where there is one",
        ),
    ],
)
def test_a_bare_machine_is_rejected_with_the_reason_and_what_to_do(method: str, reason: str, next: str) -> None:
    assert answer(method, BARE) == Rejected(reason, next)


def test_gptq_brings_its_own_packages_for_the_pythons_that_they_are_pinned_for() -> None:
    assert answer("gptq", BARE) == Accepted("gptqmodel in an environment of its own, made at first use")
    assert answer("gptq", Machine(environments=frozenset({"gptq"}))) == Accepted(
        "gptqmodel in an environment of its own, ready"
    )
    rejected = answer("gptq", Machine(python=(3, 14)))
    assert isinstance(rejected, Rejected)
    assert "pinned for Python 3.11 to 3.13, and this is 3.14" in rejected.reason


def test_looking_tells_what_is_here_without_importing_it() -> None:
    machine = look()
    assert machine.versions["bitsandbytes"].startswith("0.")
    assert machine.python >= (3, 11)


def family() -> FamilySpec:
    rows = {"code": {"kind": "code", "data": {"mix": {"rows": 1.0}}, "quantize": ["nf4", "awq"]}}
    return inherit(FamilySpec.model_validate({"family": "f", "base": {"model": "./base"}, "variants": rows}))


def test_a_rejected_format_is_a_problem_of_the_plan_at_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize_stage, "look", lambda: Machine(FULL.versions))
    spec = family()
    problems: dict[str, str] = {}
    draft = Draft(spec, Path(), Resolver(), problems.__setitem__)
    draft.at_key = "variants.code"
    draft.add(Place("merge", "code"), Step("merge", 1, "lora"))
    quantize_stage.STAGE.plan(draft, "code", spec.variants["code"])
    assert problems == {
        "variants.code.quantize[1]": "awq needs a CUDA device, and this machine has none: write gptq or w4a16 instead, "
        "which need none, or run this family where there is one"
    }
    assert [place.name for place in draft.places if place.stage == "quantize"] == ["nf4"]
