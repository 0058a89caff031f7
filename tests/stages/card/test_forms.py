from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tests.stages.card import made as by_hand
from tests.stages.card.made import SPEC, made
from variantforge.spec.family import FamilySpec
from variantforge.spec.forms import FORMS, Form
from variantforge.stages.card.collection import collection_of
from variantforge.stages.card.repos import repos_of
from variantforge.stages.card.yaml_block import read_block
from variantforge.stages.quantize import QUANTIZERS

GOLDEN = Path(__file__).parents[2] / "golden" / "cards"
FOLDERS = [form for form, held in FORMS.items() if held.is_quantized_folder]

Golden = Callable[[Path, str], None]


def with_formats(*formats: str) -> dict[str, object]:
    return {"variants": {"code": {"quantize": list(formats)}}}


@pytest.fixture(autouse=True)
def facts(monkeypatch: pytest.MonkeyPatch) -> None:
    for form in FOLDERS:
        known = {"format": form, "file": "model", "size_bytes": 134_812_345, "bits_per_weight": 8.1234}
        monkeypatch.setitem(by_hand.FACTS, form, by_hand.FACTS.get(form, known))


def test_a_family_file_may_name_exactly_the_rows_of_the_table() -> None:
    assert get_args(Form) == tuple(FORMS)
    assert list(FamilySpec.model_validate(SPEC).publish.artifacts) == list(FORMS)


def test_every_form_of_quantized_weights_is_a_quantizer_and_all_but_adapters_have_a_form() -> None:
    adapters = {"gguf_lora"}  # lie in the adapter's repo
    assert {form for form, held in FORMS.items() if held.quantized} == set(QUANTIZERS) - adapters


def test_each_form_has_a_repo_of_its_own_under_the_suffix_people_search_for() -> None:
    spec = by_hand.merged_with(SPEC, with_formats(*FOLDERS, "gguf:Q8_0"))
    repos = repos_of(FamilySpec.model_validate(spec))
    assert [repo.name.removeprefix("Small-code") for repo in repos] == [
        *("", "-LoRA", "-GGUF", "-nf4", "-bnb-8bit", "-FP8", "-W4A16", "-W8A8", "-GPTQ", "-AWQ")
    ]


@pytest.mark.parametrize("form", ["fp8", "gptq", "int8"])
def test_a_card_reads_as_agreed(form: str, tmp_path: Path, golden: Golden) -> None:
    golden(GOLDEN / f"{form}.md", made(tmp_path, with_formats(form)).card("code", form))


@pytest.mark.parametrize("form", FOLDERS)
def test_a_card_says_quantized_of_the_merged_repo_and_carries_its_tags(form: str, tmp_path: Path) -> None:
    card = made(tmp_path, with_formats(form)).card("code", form)
    front = read_block(card.split("---\n")[1]).values
    assert (front["base_model"], front["base_model_relation"]) == ("acme/Small-code", "quantized")
    assert front["library_name"] == "transformers"
    assert set(FORMS[form].tags) < set(front["tags"])
    assert ("vllm serve acme/Small-code" in card) == FORMS[form].served
    assert f"pip install {FORMS[form].needs}" in card
    assert "Quantization costs quality." in card


def test_other_pages_know_every_form(tmp_path: Path) -> None:
    family = made(tmp_path, with_formats(*FOLDERS))
    merged, page = family.card("code", "merged"), family.page()
    for form in FOLDERS:
        held = FORMS[form]
        assert f"| {held.where} | {held.run_with} | [" in merged
        assert f"| {held.title} |" in page
        assert f"| {held.run_with} |" in page


def test_a_repo_that_a_gate_keeps_back_is_named_by_no_other(tmp_path: Path) -> None:
    family = made(tmp_path, with_formats("fp8", "w8a8"), refused=frozenset({"code/fp8"}))
    merged = family.card("code", "merged")
    assert "Small-code-W8A8" in merged
    assert "Small-code-FP8" not in merged
    assert family.do("card", "code", "fp8").facts["refusal"]


def test_the_collection_notes_what_each_repo_holds() -> None:
    family = FamilySpec.model_validate(by_hand.merged_with(SPEC, with_formats("fp8", "w4a16")))
    notes = [item.note for item in collection_of(family, {repo.id for repo in repos_of(family)}).items]
    assert notes[-2:] == [
        "code: Writes functions. FP8 weights (vLLM).",
        "code: Writes functions. 4-bit weights, W4A16 (vLLM).",
    ]
