"""The Bradley-Terry model finds what was planted, whatever the order of games and names."""

from __future__ import annotations

import random
from math import log10

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variantforge.stages.evaluate.arena.strengths import Game, games_of, strengths, tables

PLANTED = {"base": 0.0, "merged": 120.0, "q8": 110.0, "q2": -200.0}


def chance(a: str, b: str) -> float:
    return 1 / (1 + 10 ** ((PLANTED[b] - PLANTED[a]) / 400))


def played(count: int, seed: int, pairs: list[tuple[str, str]] | None = None) -> list[Game]:
    dice = random.Random(seed)
    names = list(PLANTED)
    pairs = pairs or [(a, b) for a in names for b in names if a < b]
    return [Game(a, b, float(dice.random() < chance(a, b)), f"p{at}") for at in range(count) for a, b in pairs]


def exact(pairs: list[tuple[str, str]], times: int = 10_000) -> list[Game]:
    """Games whose shares are the model's own."""
    games = []
    for a, b in pairs:
        wins = round(times * chance(a, b))
        games += [Game(a, b, 1.0, f"w{at % 50}") for at in range(wins)]
        games += [Game(a, b, 0.0, f"l{at % 50}") for at in range(times - wins)]
    return games


def test_planted_strengths_are_found_from_all_pairs_and_along_a_chain() -> None:
    for pairs in ([("base", "merged"), ("merged", "q8"), ("q8", "q2")], [("base", x) for x in ("merged", "q8", "q2")]):
        found = {one.name: one.value for one in strengths(exact(pairs), "base", resamples=50)}
        assert found == pytest.approx(PLANTED, abs=0.5)


def test_one_pair_alone_is_the_log_odds_of_its_win_rate() -> None:
    games = [Game("a", "b", points, str(at)) for at, points in enumerate([1.0] * 29 + [0.5] * 2 + [0.0] * 9)]
    stronger, weaker = strengths(games, "b")
    assert weaker.value == 0
    assert stronger.value == pytest.approx(400 * log10(30.5 / 10.5), abs=1e-3)  # with the drawn game
    assert stronger.games == weaker.games == 40


def test_intervals_hold_the_planted_strengths_about_as_often_as_they_say() -> None:
    held = total = 0
    for seed in range(40):
        for one in strengths(played(80, seed), "base", resamples=200):
            if one.name != "base":
                assert one.low is not None
                assert one.high is not None
                held += one.low <= PLANTED[one.name] <= one.high
                total += 1
    assert 0.88 <= held / total <= 0.995


def test_games_on_one_prompt_are_drawn_together() -> None:
    alone = [Game("a", "b", float(at % 3 > 0), f"p{at}") for at in range(60)]
    copied = [Game("a", "b", game.points, game.prompt) for game in alone for _ in range(10)]
    apart = [Game("a", "b", game.points, f"{game.prompt}-{at}") for game in alone for at in range(10)]
    widths = [
        (lambda one: one.high - one.low)(strengths(games, "b", resamples=400)[0]) for games in (alone, copied, apart)
    ]
    assert widths[0] == pytest.approx(widths[1], rel=0.1)
    assert widths[2] < widths[0] / 2


names = st.sampled_from(["a", "b", "c", "d"])
game = st.builds(Game, names, names, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from("xyzuvw"))
linked = [Game("a", "b", 1.0, "x"), Game("b", "c", 0.5, "y"), Game("c", "d", 0.0, "z")]


@settings(max_examples=25, deadline=None)
@given(st.lists(game.filter(lambda one: one.a != one.b), max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_games_and_who_is_named_first_mean_nothing(games: list[Game], dice: random.Random) -> None:
    games = [*linked, *games]
    other = [Game(one.b, one.a, 1 - one.points, one.prompt) if dice.random() < 0.5 else one for one in games]
    dice.shuffle(other)
    assert strengths(other, "a", resamples=20) == strengths(games, "a", resamples=20)


@settings(max_examples=25, deadline=None)
@given(st.lists(game.filter(lambda one: one.a != one.b), max_size=30), st.permutations(["a", "b", "c", "d"]))
def test_other_names_are_as_strong(games: list[Game], called: list[str]) -> None:
    games = [*linked, *games]
    rename = dict(zip("abcd", called, strict=True))
    renamed = [Game(rename[one.a], rename[one.b], one.points, one.prompt) for one in games]
    plain = {rename[one.name]: one.value for one in strengths(games, resamples=2)}
    assert {one.name: one.value for one in strengths(renamed, resamples=2)} == pytest.approx(plain, abs=1e-3)
    assert sum(plain.values()) == pytest.approx(0, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.lists(game.filter(lambda one: one.a != one.b), max_size=30))
def test_a_further_win_never_makes_weaker_and_bounds_lie_around_the_value(games: list[Game]) -> None:
    before = {one.name: one for one in strengths([*linked, *games], resamples=30)}
    after = {one.name: one.value for one in strengths([*linked, *games, Game("a", "b", 1.0, "n")], resamples=2)}
    assert after["a"] >= before["a"].value - 1e-3
    assert all(one.low <= one.value <= one.high for one in before.values() if one.low is not None and one.high)


def test_who_wins_always_is_strong_but_not_without_end() -> None:
    stronger, _ = strengths([Game("a", "b", 1.0, str(at)) for at in range(1000)], "b", resamples=20)
    assert 1000 < stronger.value < 1500


def test_contestants_that_never_met_have_no_common_scale() -> None:
    with pytest.raises(ValueError, match="c, d and a have not met"):
        strengths([Game("a", "b", 1.0, "x"), Game("c", "d", 1.0, "x")])
    with pytest.raises(ValueError, match="'e' has not played"):
        strengths(linked, "e")
    with pytest.raises(ValueError, match="against itself"):
        strengths([Game("a", "a", 1.0, "x")])


def test_those_that_have_met_share_a_table_with_its_own_anchor() -> None:
    apart = [Game("code merged", "code base", 1.0, "x"), Game("law merged", "law base", 0.0, "x")]
    more = [Game("code nf4", "code merged", 0.0, "y")]
    found = tables([*apart, *more], ["code base", "law base"])
    assert [[one.name for one in table] for table in found] == [
        ["code merged", "code base", "code nf4"],
        ["law base", "law merged"],
    ]
    assert [next(one.value for one in table if one.name.endswith("base")) for table in found] == [0, 0]
    assert tables([]) == []
    joined = tables([*apart, *more, Game("code base", "law base", 0.5, "z")], ["law base", "code base"])
    assert [one.value for one in joined[0] if one.name == "code base"] == [0]


def test_of_one_prompt_no_bounds_are_known_and_without_games_there_is_no_table() -> None:
    assert {(one.low, one.high) for one in strengths([Game("a", "b", 1.0, "x")])} == {(None, None)}
    assert strengths([]) == []


def test_stored_rows_are_games_where_both_verdicts_were_given() -> None:
    rows = [{"id": "x", "games": 1, "points": 0.5}, {"id": "y", "verdicts": 2, "unparsed": 1}]
    assert games_of(rows, "merged", "base") == [Game("merged", "base", 0.5, "x")]
