from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stages.card.made import SPEC, merged_with
from variantforge.spec.family import FamilySpec
from variantforge.stages.card.collection import MAX_DESCRIPTION, MAX_NOTE, collection_of, cut
from variantforge.stages.card.repos import repos_of

LAW = {"law": {"kind": "domain", "from": "code", "data": {"mix": {"pairs": 1.0}}, "quantize": ["gguf:Q8_0"]}}


def family(changes: dict[str, Any] | None = None) -> FamilySpec:
    return FamilySpec.model_validate(merged_with(SPEC, changes or {}))


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def test_the_family_page_comes_first_then_the_repos_as_the_file_has_them() -> None:
    spec = family({"variants": LAW})
    made = collection_of(spec, {it.id for it in repos_of(spec)})
    assert (made.title, made.description) == ("Small, made ours", "Two variants of a small model.")
    assert [item.repo for item in made.items] == [
        *("acme/quick", "acme/Small-code", "acme/Small-code-LoRA", "acme/Small-code-GGUF", "acme/Small-code-nf4"),
        *("acme/Small-law", "acme/Small-law-LoRA", "acme/Small-law-GGUF"),
    ]
    assert made.items[1].note == "code: Writes functions. Full weights (transformers)."
    assert made.items[5].note == "law: Full weights (transformers)."


def test_only_what_ships_is_shown() -> None:
    made = collection_of(family(), {"acme/Small-code-GGUF", "acme/elsewhere"})
    assert [item.repo for item in made.items] == ["acme/quick", "acme/Small-code-GGUF"]


def test_a_family_without_words_has_a_title_and_a_description() -> None:
    made = collection_of(family({"description": None, "publish": {"collection": None}}), ())
    assert (made.title, made.description) == ("quick", "quick: variants of one model, released together")


def test_a_new_version_alone_is_the_same_collection() -> None:
    ids = {it.id for it in repos_of(family())}
    assert collection_of(family({"version": "9.9.9"}), ids) == collection_of(family(), ids)


@pytest.mark.parametrize("words", ["word " * 300, "x" * 900, "👩‍💻" * 300, "a\n\nb\u200b " * 200])
def test_the_limits_of_the_hub_hold_for_any_words(words: str) -> None:
    spec = family({"description": words, "variants": {"code": {"description": words}}})
    made = collection_of(spec, {it.id for it in repos_of(spec)})
    assert 0 < units(made.description) <= MAX_DESCRIPTION
    assert all(0 < units(item.note) <= MAX_NOTE and "\n" not in item.note for item in made.items)
    assert made.items[1].note.endswith("Full weights (transformers).")


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.integers(1, 40))
def test_what_is_cut_is_a_beginning_with_an_ellipsis(text: str, most: int) -> None:
    short = cut(text, most)
    assert units(short) <= most
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_a_text_is_cut_between_words() -> None:
    assert cut("one two three", 9) == "one two…"
