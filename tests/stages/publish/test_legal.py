"""LICENSE and NOTICE of a repo: the base's own texts where it brought some, nothing made up where it did not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stages.card.made import Made, made
from tests.stages.publish.payloads import small
from variantforge.stages.base.legal import LEGAL
from variantforge.stages.publish.stage import contents_of
from variantforge.stages.stage import Place
from variantforge.step import Step, StepContext

LLAMA = {
    "base": {"model": "acme/Llama-3.1-Small", "license": "llama3.1", "license_reason": "as its card says"},
    "publish": {"repo": "Llama-small-{variant}"},
}


def texts(root: Path, changes: dict[str, Any], brought: dict[str, str] | None = None) -> dict[str, str]:
    """Name -> text of the repo's legal files; ``brought``: those that the base has."""
    family = made(root, changes, fill=small)
    step = family.step("publish", "code", "merged")
    inputs = dict(step.inputs)
    if brought is not None:
        inputs["legal"] = _bring(family, brought)
    card = family.step("card", "code", "merged")
    family.do("card", "code", "merged")
    again = Step(step.stage, step.version, step.method, step.params, inputs)
    artifacts = {role: family.artifacts[key] for role, key in inputs.items()}
    assert card.key in step.inputs.values()
    found = contents_of(StepContext(again, artifacts, root / "out", root / "scratch")).files
    legal = {
        name: it for name, it in found.items() if "." not in name or name.lower().endswith(("notice.txt", "policy.md"))
    }
    return {name: it.read_text() if isinstance(it, Path) else it for name, it in legal.items()}


def _bring(family: Made, brought: dict[str, str]) -> str:
    folder = family._add(Place("base", "code", LEGAL), {"files": sorted(brought)})
    (folder / "legal").mkdir(exist_ok=True)
    for name, text in brought.items():
        (folder / "legal" / name).write_text(text)
    step = family.desk.step(Place("base", "code", LEGAL))
    assert step is not None
    return step.key


def test_apache_goes_with_its_text_and_a_statement_of_changes(tmp_path: Path) -> None:
    found = texts(tmp_path, {})
    assert set(found) == {"LICENSE", "NOTICE"}
    assert "Version 2.0, January 2004" in found["LICENSE"]
    assert found["NOTICE"].startswith("Small-code\n\n")
    assert (
        "a changed version of acme/Small-135M: it was trained further, as the variant code of the family quick"
        in (found["NOTICE"])
    )
    assert "Learned from pairs (cc-by-4.0)." in found["NOTICE"]


def test_a_licence_whose_text_names_its_holder_is_named_and_linked(tmp_path: Path) -> None:
    found = texts(tmp_path, {"base": {"license": "mit", "license_reason": "read"}})
    assert found["LICENSE"] == "MIT License\n\nIts text: https://spdx.org/licenses/MIT.html\n"


def test_the_text_that_the_base_brought_is_the_one_that_goes_along(tmp_path: Path) -> None:
    brought = {"LICENSE": "MIT\nCopyright (c) Acme\n"}
    found = texts(tmp_path, {"base": {"license": "mit", "license_reason": "read"}}, brought)
    assert found["LICENSE"] == brought["LICENSE"]


def test_llama_goes_with_agreement_notice_and_policy(tmp_path: Path) -> None:
    brought = {"LICENSE": "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT ...", "USE_POLICY.md": "Prohibited uses ..."}
    found = texts(tmp_path, LLAMA, brought)
    assert found["LICENSE"] == brought["LICENSE"]
    assert found["USE_POLICY.md"] == brought["USE_POLICY.md"]
    assert (
        "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright © Meta Platforms, Inc."
        in found["NOTICE"]
    )
    assert "Built with Llama" in found["NOTICE"]


def test_without_the_agreement_its_place_is_named_and_no_text_made_up(tmp_path: Path) -> None:
    found = texts(tmp_path, LLAMA)
    assert found["LICENSE"].startswith("Llama 3.1 Community License\n\nIts text: https://github.com/meta-llama/")


def test_a_notice_of_the_base_is_kept_in_ours(tmp_path: Path) -> None:
    found = texts(tmp_path, {}, {"LICENSE": "Apache ...", "NOTICE.txt": "Acme Base\nCopyright Acme\n"})
    assert "From the base's own NOTICE.txt:\n\nAcme Base\nCopyright Acme\n" in found["NOTICE"]
    assert "NOTICE.txt" not in found


def test_another_licence_than_the_base_s_keeps_the_base_s_text_beside_it(tmp_path: Path) -> None:
    found = texts(tmp_path, {"publish": {"license": "gpl-3.0"}}, {"LICENSE": "Apache ..."})
    assert found["BASE-LICENSE"] == "Apache ..."
    assert found["LICENSE"].startswith("GNU General Public License 3.0")
    assert "acme/Small-135M is under Apache License 2.0" in found["NOTICE"]


def test_r1_distill_llama_is_bound_by_both_and_goes_out_under_llama(tmp_path: Path) -> None:
    base = {"model": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "license": "mit"}
    found = texts(tmp_path, {"base": base, "publish": {"repo": "Llama-r1-{variant}"}})
    assert found["LICENSE"].startswith("Llama 3.1 Community License")
    assert "deepseek-ai/DeepSeek-R1-Distill-Llama-8B is under MIT License" in found["NOTICE"]


@pytest.mark.parametrize("form", ["merged", "adapter", "gguf", "nf4"])
def test_every_form_has_licence_and_notice_and_the_card_their_duties(form: str, tmp_path: Path) -> None:
    family = made(tmp_path, LLAMA, fill=small)
    published = family.do("publish", "code", form)
    assert {"LICENSE", "NOTICE"} <= set(published.facts["files"])
    card = family.card("code", form)
    assert "\n**Built with Llama**\n" in card
    assert "must have a name that begins with `Llama`" in card
    assert "stated by the publisher, who says why: as its card says" in card
    duties = family.artifacts[family.step("card", "code", form).key].facts["duties"]
    assert {duty["kind"] for duty in duties} >= {"name", "notice", "display", "text", "restrictions", "size", "credit"}
    assert json.dumps(duties)
