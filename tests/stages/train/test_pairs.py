"""Sides of answers: what is left of them in a window, and what of them is learned."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.templates.families import FAMILIES
from variantforge.errors import NoSupervisedTokens
from variantforge.stages.rows import make_row
from variantforge.stages.train.dpo import tokens_of_pair
from variantforge.stages.train.pairs import Counts, LearnedOnly, Side, cut_pair, tokenize_side


def side(prompt: str, answer: str, returned: str = "") -> Side:
    """One token a letter; ``returned`` stands before the answer and is not learned."""
    ids = [ord(letter) for letter in prompt + returned + answer]
    learned = [False] * len(prompt + returned) + [True] * len(answer)
    return Side(ids, learned, len(prompt))


def written(ids: list[int]) -> str:
    return "".join(map(chr, ids))


WINDOWS = st.one_of(
    st.just(slice(None)),
    st.integers(1, 12).map(lambda length: slice(length)),
    st.integers(1, 12).map(lambda length: slice(-length, None)),
)
SIDES = st.builds(side, st.text("pqr", max_size=6), st.text("abc", min_size=1, max_size=6), st.text("x", max_size=3))


@given(SIDES, WINDOWS)
def test_a_cut_keeps_what_lies_in_the_window_and_nothing_else(whole: Side, window: slice) -> None:
    part = whole.cut(window)
    assert part.ids == whole.ids[window]
    assert part.learned == whole.learned[window]
    first = range(len(whole.ids))[window].start
    assert [first + at >= whole.start for at in range(len(part.ids))] == [
        at >= part.start for at in range(len(part.ids))
    ]


@given(SIDES, SIDES, WINDOWS)
def test_a_pair_is_what_both_sides_are(chosen: Side, rejected: Side, window: slice) -> None:
    counts = Counts()
    pair = cut_pair(chosen, rejected, window, counts)
    if pair is None:
        assert counts.dropped == 1
        return
    row = tokens_of_pair("r", *pair)
    for name, one in zip(("chosen", "rejected"), pair, strict=True):
        assert row["prompt_ids"] + row[f"{name}_ids"] == one.ids
        assert [False] * len(row["prompt_ids"]) + row[f"{name}_learned"] == one.learned


def test_what_becomes_of_pairs_is_counted() -> None:
    counts = Counts()
    assert cut_pair(side("ask", "yes"), side("ask", "no"), slice(None), counts) is not None
    assert cut_pair(side("ask", "yes"), side("ask", "no"), slice(5), counts) is not None  # "yes" is cut
    assert cut_pair(side("ask", "same a"), side("ask", "same b"), slice(8), counts) is None
    assert cut_pair(side("long prompt", "a"), side("long prompt", "b"), slice(5), counts) is None
    assert counts == Counts(cut=1, dropped=2, equal=1)


def test_the_first_token_of_a_window_teaches_nothing() -> None:
    assert not side("", "a").teaches
    assert side("", "ab").teaches
    assert not side("ask", "a").cut(slice(-1, None)).teaches


@pytest.mark.parametrize(
    ("counts", "what"),
    [(Counts(), "there are no rows to train on"), (Counts(dropped=2), "no row is left to train on")],
)
def test_nothing_left_is_an_error(counts: Counts, what: str) -> None:
    with pytest.raises(NoSupervisedTokens, match=what):
        counts.tell(print, 8, 0)


@pytest.mark.parametrize("limit", [None, 6])
def test_a_collators_mask_loses_what_is_not_learned(limit: int | None) -> None:
    pytest.importorskip("trl")
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    pair = (side("ask", "yes", "xx"), side("ask", "no"))
    inner: Any = DataCollatorForPreference(pad_token_id=0, max_length=limit)
    collate = LearnedOnly(inner, {"completion_mask": ("chosen_learned", "rejected_learned")})
    batch = collate([tokens_of_pair("1", *pair), tokens_of_pair("2", *reversed(pair))])
    rows = zip(batch["input_ids"], batch["completion_mask"], strict=True)
    told = [written(ids[mask == 1].tolist()) for ids, mask in rows]
    assert told == (["yes", "no", "no", "yes"] if limit is None else ["y", "no", "no", "y"])


@pytest.mark.parametrize("earlier", [True, False])
def test_an_answer_begins_where_it_begins_also_where_turns_follow_without_a_header(earlier: bool) -> None:
    """Mistral's template writes two turns of the assistant's without anything between them: one stretch is learned."""
    mistral = next(family for family in FAMILIES if family.name == "Mistral")
    said = [{"role": "assistant", "content": text} for text in ("First.", "It is sunny.", "Go out.")]
    before = [{"role": "user", "content": "One?"}, said[0]] if earlier else []
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}
    looked: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcdefghi", "name": "look", "content": "blue"},
    ]
    content = {
        "prompt": [*before, {"role": "user", "content": "Two?"}],
        "chosen": [*looked, *said[1:]],
        "rejected": said[:1],
    }
    tokenizer = mistral.tokenizer()
    found = tokenize_side(tokenizer, make_row("prefs", content), "chosen", mistral.stop_ids(tokenizer))
    learned = tokenizer.decode([id for id, counts in zip(found.ids, found.learned, strict=True) if counts])
    assert learned.startswith("[TOOL_CALLS]")
    assert learned.endswith("</s>It is sunny.</s>Go out.</s>")
    assert "First." not in learned
    assert "blue" not in learned
