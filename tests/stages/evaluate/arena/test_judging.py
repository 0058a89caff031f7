"""What a judge says is read strictly, and a place alone wins nothing."""

from __future__ import annotations

from itertools import product

import pytest

from variantforge.stages.evaluate.arena.judging import columns, outcome, question, verdict_in


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("A is right.\nVerdict: A", "A"),
        ("Both fail.\n\nVerdict: tie\n", "tie"),
        ("**Verdict: B**", "B"),
        ("**Verdict:** b.", "B"),
        ("VERDICT : TIE", "tie"),
        ("", None),
        ("A", None),
        ("Verdict: C", None),
        ("Verdict: A or B", None),
        ("Verdict: A\nbut B is nice", None),
        ("Verdict: A\nVerdict: B", None),
        ("My verdict: A.\nVerdict: A", None),
        ("The verdict is A", None),
    ],
)
def test_a_verdict_is_one_last_line_or_none(text: str, verdict: str | None) -> None:
    assert verdict_in(text) == verdict


def test_an_answer_wins_only_when_preferred_in_both_places() -> None:
    ended = {(first, second): outcome(first, second) for first, second in product(["A", "B", "tie"], repeat=2)}
    assert [pair for pair, how in ended.items() if how == "win"] == [("A", "B")]
    assert [pair for pair, how in ended.items() if how == "loss"] == [("B", "A")]


def test_swapping_subject_and_opponent_swaps_the_points_and_nothing_else() -> None:
    for first, second in product(["A", "B", "tie", None], repeat=2):
        other = {"A": "B", "B": "A", "tie": "tie", None: None}
        ours, theirs = columns(first, second), columns(second, first)
        assert ours.get("points", 0.5) == 1 - theirs.get("points", 0.5)
        mirrored = columns(other[first], other[second])
        assert mirrored.get("points", 0.5) == 1 - ours.get("points", 0.5)
        assert {k: ours.get(k) for k in ("agreed", "unparsed", "preferences")} == {
            k: mirrored.get(k) for k in ("agreed", "unparsed", "preferences")
        }


def test_a_judge_that_always_prefers_the_first_place_gives_ties_and_shows_it() -> None:
    row = columns("A", "A")
    assert (row["points"], row["agreed"], row["first_preferred"], row["preferences"]) == (0.5, 0, 2, 2)


def test_what_cannot_be_read_is_no_game() -> None:
    row = columns(None, "B")
    assert row == {"verdicts": 2, "unparsed": 1, "preferences": 1, "first_preferred": 0}
    assert "games" not in row


def test_the_question_holds_request_and_answers_in_their_places() -> None:
    ((message),) = question([{"role": "user", "content": "Why?"}], "because", "perhaps")
    text = message["content"]
    assert text.index("Why?") < text.index("=== ANSWER A ===\nbecause") < text.index("=== ANSWER B ===\nperhaps")
    several = question([{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Why?"}], "a", "b")
    assert "[system]\nBe brief\n\n[user]\nWhy?" in several[0]["content"]
    assert verdict_in(text) is None  # the rules alone are no verdict
