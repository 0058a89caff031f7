from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stages.card import made as by_hand
from tests.stages.card.made import REFUSED, Made, made
from variantforge.stages.card.markdown import figure, percent, size
from variantforge.stages.stage import Place

GOLDEN = Path(__file__).parents[2] / "golden" / "cards"
FORMS = ("merged", "adapter", "gguf", "nf4")
SECOND = {
    "variants": {
        "law": {
            "kind": "domain",
            "from": "code",
            "data": {"mix": {"pairs": 1.0}},
            "train": {"adapter": {"type": "full"}},
            "quantize": ["gguf:Q8_0"],
        }
    }
}
FACTS_OF_FILES = ("nf4", "gguf:Q4_K_M", "gguf:Q8_0")
NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?!\w)")
FIXED = {"95", "16", "256"}  # "95 % interval", "merged, 16 bit", "SHA-256": words, not measurements


def front(text: str) -> dict[str, Any]:
    block: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return block


def numbers_in(text: str) -> set[str]:
    """Every number a reader sees: outside of code blocks and of the metadata block."""
    body = re.sub(r"```.*?```", "", text.split("\n---\n", 1)[-1], flags=re.DOTALL)
    return set(NUMBER.findall(body))


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def printed_forms(*sources: Any) -> set[str]:
    """Every way in which a number of these facts may be printed: as it is, or rounded by a filter."""
    known = set(FIXED)
    for leaf in leaves(list(sources)):
        if isinstance(leaf, str):
            known |= set(NUMBER.findall(leaf))
        elif isinstance(leaf, int | float) and not isinstance(leaf, bool):
            told = [json.dumps(leaf), figure(leaf), percent(leaf), *([size(leaf)] if isinstance(leaf, int) else [])]
            known |= {number for text in told for number in NUMBER.findall(text)}
    return known


def memory_by_hand(family: Made) -> list[int]:
    """All that a card works out itself: what the cache takes for 4,096 tokens, and with it each kind of weights."""
    cache = 2 * 30 * 3 * 64 * 4096 * 2  # keys and values, layers, heads, size of a head, tokens, bytes
    sizes = [family.artifacts[family.step("quantize", "code", it).key].facts["size_bytes"] for it in FACTS_OF_FILES]
    return [4096, cache, *(size_bytes + cache for size_bytes in [2 * 134515008, *sizes])]


@pytest.mark.parametrize("form", FORMS)
def test_a_card_reads_as_agreed(form: str, tmp_path: Path, golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / f"{form}.md", made(tmp_path).card("code", form))


def test_the_family_page_reads_as_agreed(tmp_path: Path, golden: Callable[[Path, str], None]) -> None:
    family = made(tmp_path, SECOND, refused=frozenset({"code/gguf:Q4_K_M", "law/merged"}))
    golden(GOLDEN / "family.md", family.page())


def test_the_card_of_a_variant_of_a_variant_reads_as_agreed(
    tmp_path: Path, golden: Callable[[Path, str], None]
) -> None:
    golden(GOLDEN / "parent-full-weights.md", made(tmp_path, SECOND).card("law", "merged"))


def test_without_a_namespace_repos_are_addressed_by_their_folders(
    tmp_path: Path, golden: Callable[[Path, str], None]
) -> None:
    family = made(tmp_path, {"publish": {"namespace": None}})
    golden(GOLDEN / "local.md", family.card("code", "gguf"))
    assert "[Small-code](../Small-code/)" in family.card("code", "gguf")
    assert 'repo = "Small-code"  # the path of this folder' in family.card("code", "merged")
    assert "huggingface.co/local" not in "".join(family.card("code", form) for form in FORMS)


def test_a_family_without_evaluation_says_that_nothing_was_measured(
    tmp_path: Path, golden: Callable[[Path, str], None]
) -> None:
    family = made(tmp_path, {"evaluate": None, "gates": None})
    text = family.card("code", "gguf")
    golden(GOLDEN / "unmeasured.md", text)
    assert "Nothing was measured" in text
    assert "model-index" not in front(text)
    assert "Nothing was measured of this variant" in family.page()
    assert "none set" in family.page()


@pytest.mark.parametrize("form", FORMS)
def test_every_number_in_a_card_stands_in_an_artifact(form: str, tmp_path: Path) -> None:
    family = made(tmp_path, refused=frozenset({"code/gguf:Q4_K_M"}))
    text, step = family.card("code", form), family.step("card", "code", form)
    sources = [family.artifacts[key].facts for key in step.inputs.values()]
    assert len(numbers_in(text)) > 25
    assert numbers_in(text) - printed_forms(step.params, memory_by_hand(family), *sources) == set()


def test_every_number_in_the_family_page_stands_in_a_card(tmp_path: Path) -> None:
    family = made(tmp_path, SECOND, refused=frozenset({"code/gguf:Q4_K_M"}))
    text, step = family.page(), family.step("card", None, "family")
    sources = [family.artifacts[key].facts for key in step.inputs.values()]
    assert len(numbers_in(text)) > 10
    assert numbers_in(text) - printed_forms(step.params, *sources) == set()


def test_a_metric_that_was_not_measured_has_no_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def columns(root: Path) -> str:
        return next(line for line in made(root).card("code", "gguf").splitlines() if line.startswith("| file |"))

    assert "`heldout.loss` ↓ | `heldout.kl` ↓" in columns(tmp_path / "all")
    measured = by_hand.metrics
    monkeypatch.setattr(by_hand, "metrics", lambda subject: {"loss": measured(subject)["loss"]})
    assert columns(tmp_path / "loss") == "| file | size | memory | bits per weight | `heldout.loss` ↓ | for |"


def test_memory_that_the_configuration_does_not_tell_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_hand, "CONFIG", by_hand.CONFIG | {"kv_lora_rank": 512})
    family = made(tmp_path)
    for form in FORMS:
        assert "Memory:" not in family.card("code", form)
    assert "| file | size | bits per weight |" in family.card("code", "gguf")
    assert "| repo | what it holds | gates |" in family.page()


def test_a_number_that_is_in_no_artifact_would_be_found() -> None:
    assert numbers_in("---\nlicense: mit\n---\nloss 12.34, of 5,217 rows\n```py\nx = 77\n```\n") == {"12.34", "5,217"}
    assert "12.34" not in printed_forms({"loss": 12.3456})
    assert "12.35" in printed_forms({"loss": 12.3456})


@pytest.mark.parametrize("form", FORMS)
def test_the_metadata_block_is_what_huggingface_hub_reads(form: str, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard, ModelCardData

    text = made(tmp_path).card("code", form)
    data = ModelCard(text).data
    assert data.to_dict() == ModelCardData(**front(text)).to_dict() == front(text)
    assert data.license == "apache-2.0"
    assert data.language == ["en"]
    assert data.datasets == ["acme/pairs"]
    assert data.pipeline_tag == "text-generation"
    assert vars(data)["library_name"] == {"adapter": "peft", "gguf": "gguf"}.get(form, "transformers")
    assert {"variantforge", "code", "sft", "qlora", "small", "conversational"} <= set(data.tags or [])
    relation = {"merged": "finetune", "adapter": "adapter"}.get(form, "quantized")
    base = "acme/Small-code" if relation == "quantized" else "acme/Small-135M"
    assert (data.base_model, data["base_model_relation"]) == (base, relation)


def test_the_model_index_holds_the_measured_values(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    family = made(tmp_path)
    results = {
        it.metric_type: it.metric_value for it in ModelCard(family.card("code", "merged")).data.eval_results or []
    }
    measured = family.artifacts[family.step("evaluate", "code", "heldout:merged").key].facts["metrics"]
    assert results == {metric: it["value"] for metric, it in measured.items()}
    names = [it.metric_name for it in ModelCard(family.card("code", "gguf")).data.eval_results or []]
    assert {"loss of Q4_K_M", "loss of Q8_0"} <= set(names)


def test_without_merged_repo_a_quantized_one_comes_from_the_base(tmp_path: Path) -> None:
    block = front(made(tmp_path, {"publish": {"artifacts": ["gguf"]}}).card("code", "gguf"))
    assert (block["base_model"], block["base_model_relation"]) == ("acme/Small-135M", "finetune")


def test_a_variant_of_a_variant_names_its_parent_as_base(tmp_path: Path) -> None:
    family = made(tmp_path, SECOND)
    block = front(family.card("law", "merged"))
    assert (block["base_model"], block["base_model_relation"]) == ("acme/Small-code", "finetune")
    assert "[acme/Small-code]" in family.card("law", "merged")


@pytest.mark.parametrize("model", ["./secret/model", "./secret/model.gguf"])
def test_the_path_of_a_local_base_or_dataset_is_told_nowhere(model: str, tmp_path: Path) -> None:
    from tests.tiny import smollm2_gguf

    local = {"base": {"model": model, "revision": None, "license": "apache-2.0"}}
    (tmp_path / "base.gguf").symlink_to(smollm2_gguf())
    family = made(tmp_path, local)
    for form in FORMS:
        text = family.card("code", form)
        facts = json.dumps(family.do("card", "code", form).facts)
        params = json.dumps(dict(family.step("card", "code", form).params))
        assert "base_model" not in front(text) or front(text)["base_model"] == "acme/Small-code"
        for told in (text, facts, params):
            assert "secret" not in told
            assert str(tmp_path) not in told


@pytest.mark.parametrize("name", ["/home/me/models/small", "C:\\models\\small", "./small", "~/small"])
def test_a_base_that_calls_itself_by_a_path_is_called_by_its_last_part(name: str) -> None:
    from variantforge.stages.card.params import _without_folders

    assert _without_folders(name) == "small"
    assert _without_folders("acme/Small-135M") == "acme/Small-135M"


def test_a_refused_repo_has_no_card_but_facts_that_say_why(tmp_path: Path) -> None:
    family = made(tmp_path, refused=frozenset({"code/merged", "code/nf4"}))
    for form in ("merged", "adapter", "nf4"):
        card = family.do("card", "code", form)
        assert card.refusal == REFUSED
        assert not (card.path / "README.md").exists()
    assert family.do("card", "code", "gguf").refusal == ""


def test_a_refused_file_is_left_out_and_told_of(tmp_path: Path) -> None:
    family = made(tmp_path, refused=frozenset({"code/gguf:Q4_K_M"}))
    card, text = family.do("card", "code", "gguf"), family.card("code", "gguf")
    assert card.refusal == ""
    assert card.facts["files"] == ["Small-code-Q8_0.gguf"]
    assert card.facts["withheld"] == {"Small-code-Q4_K_M.gguf": REFUSED}
    assert re.search(r"Withheld.*\n\n- Small-code-Q4_K_M\.gguf: fail: ", text)
    assert "llama-cli -hf acme/Small-code-GGUF:Q8_0" in text
    assert "Q4_K_M" not in json.dumps(front(text))


def test_when_every_file_is_refused_the_repo_is(tmp_path: Path) -> None:
    family = made(tmp_path, refused=frozenset({"code/gguf:Q4_K_M", "code/gguf:Q8_0"}))
    card = family.do("card", "code", "gguf")
    assert card.refusal == f"every file was refused: {REFUSED}"
    assert not (card.path / "README.md").exists()
    page = family.page()
    assert "[Small-code-GGUF]" not in page
    assert "**withheld**" in page


def test_a_licence_the_hub_does_not_list_is_given_by_name(tmp_path: Path) -> None:
    block = front(made(tmp_path, {"base": {"license": "Acme-1.0"}}).card("code", "merged"))
    assert block["license"] == "other"
    assert block["license_name"] == "Acme-1.0"
    assert block["license_link"] == "https://huggingface.co/acme/Small-135M/blob/main/LICENSE"


def test_an_inherited_licence_of_a_hub_base_comes_from_the_base_itself(tmp_path: Path) -> None:
    text = made(tmp_path, {"base": {"license": "inherit"}}).card("code", "merged")
    assert front(text)["license"] == "apache-2.0"
    assert "taken over from the base" in text


def test_equal_cards_are_equal_bytes_whatever_the_order_of_mappings(tmp_path: Path) -> None:
    turned = {"variants": {"code": {"data": {"mix": {"mine": 0.2, "stdlib": 0.3, "pairs": 0.5}}}}}
    turned["variants"]["code"]["quantize"] = ["gguf:Q8_0", "gguf:Q4_K_M", "nf4"]
    one, other = made(tmp_path / "one"), made(tmp_path / "other", turned)
    for form in FORMS:
        assert one.card("code", form) == other.card("code", form)
        assert one.step("card", "code", form).key == other.step("card", "code", form).key


WORDS: list[dict[str, Any]] = [
    {"description": "Another family."},
    {"variants": {"code": {"description": "Another variant."}}},
    {"publish": {"tags": ["other"]}},
    {"publish": {"language": ["de"]}},
    {"publish": {"collection": "Another title"}},
    {"datasets": {"pairs": {"license": "mit"}}},
    {"datasets": {"stdlib": {"description": "The standard library."}}},
    {"base": {"license": "mit"}},
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: json.dumps(words))
def test_words_change_cards_and_publications_alone(words: dict[str, Any], tmp_path: Path) -> None:
    before, after = made(tmp_path / "before"), made(tmp_path / "after", words)
    moved = {place for place, key in before.desk.places.items() if after.desk.places[place] != key}
    assert {place.stage for place in moved} == {"card", "publish"}
    assert Place("publish", None, "family") in moved


def test_a_new_version_alone_is_told_by_the_family_page_and_changes_no_repo(tmp_path: Path) -> None:
    before, after = made(tmp_path / "before"), made(tmp_path / "after", {"version": "1.2.1"})
    moved = {place for place, key in before.desk.places.items() if after.desk.places[place] != key}
    assert moved == {Place("card", None, "family"), Place("publish", None, "family")}
    assert "1.2.1" in after.page()


def test_the_place_published_to_is_in_no_key(tmp_path: Path) -> None:
    before, after = made(tmp_path / "before"), made(tmp_path / "after", {"publish": {"path": "./elsewhere"}})
    assert before.desk.places == after.desk.places


def test_only_what_is_asked_for_and_made_gets_a_card(tmp_path: Path) -> None:
    family = made(tmp_path, SECOND | {"publish": {"artifacts": ["adapter", "nf4", "merged"]}})
    cards = {(place.variant, place.name) for place in family.desk.places if place.stage == "card"}
    assert cards == {("code", "merged"), ("code", "adapter"), ("code", "nf4"), ("law", "merged"), (None, "family")}


def test_a_family_that_publishes_nothing_has_no_page(tmp_path: Path) -> None:
    family = made(tmp_path, {"publish": {"artifacts": []}})
    assert not [place for place in family.desk.places if place.stage in ("card", "publish")]
