"""An arena finds the preference that a judge was given, and shows when the judge looks at places instead of answers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from math import log10
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.stages.evaluate.desk import Table
from tests.stages.evaluate.judges.court import Opinion, answers_in, prefers, sitting
from tests.stages.evaluate.subjects import data_artifact
from tests.tiny import smollm2_gguf
from variantforge.errors import EvaluateError, JudgeUnclear
from variantforge.stages.evaluate.answers import Answer
from variantforge.stages.evaluate.arena.evaluator import Arena, ArenaParams, Pair, judged, why_wrong
from variantforge.stages.evaluate.arena.strengths import games_of, strengths
from variantforge.stages.evaluate.judges.planning import identity_of
from variantforge.stages.evaluate.judges.spec import JudgeSpec
from variantforge.stages.evaluate.metric import read_examples
from variantforge.stages.evaluate.prompts import of_text
from variantforge.stages.evaluate.stage import STAGE
from variantforge.stages.evaluate.statistics import interval
from variantforge.stages.evaluate.suites import HasJudge, HasPins, HasSuite, HasSuiteFiles
from variantforge.step import Artifact, Pin, Step, StepContext

JUDGE = {"endpoint": "http://localhost:9/v1", "model": "wise"}
ASKED = tuple(f"Question {number}: what is {number} and {number}?" for number in range(8))


def written(root: Path, texts: Sequence[str] = ASKED) -> Pin:
    path = root / "prompts.jsonl"
    root.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": text, "id": f"q{at}"}) + "\n" for at, text in enumerate(texts)))
    return Pin("0" * 64, str(path))


def fought(
    root: Path, subject: Artifact, other: Artifact, opinion: Opinion, pins: dict[str, Pin] | None = None, **more: Any
) -> tuple[Artifact, Any]:
    """The arena done, with ``opinion`` as its judge; and what was asked."""
    inputs = {"model": subject, "base": other, **more.pop("inputs", {})}
    with sitting(opinion) as court:
        judge = JudgeSpec(endpoint=court.url, model="wise", **more.pop("judge", {}))
        params = {"max_tokens": 6, "judging": 1, "judge": identity_of(judge), **more}
        keys = {role: one.key for role, one in inputs.items()}
        pins = {"prompts": written(root)} if pins is None else pins
        step = Step("evaluate", 1, "arena", params, keys, pins, {"pace": {"concurrency": 2}})
        return do_step(STAGE, step, root, inputs), court.asked


def metrics(made: Artifact) -> dict[str, float]:
    return {name: told["value"] for name, told in made.facts["metrics"].items()}


def test_the_longer_answer_wins_where_a_judge_likes_length(tmp_path: Path, merged: Artifact, base: Artifact) -> None:
    made, asked = fought(tmp_path, merged, base, prefers(len))
    rows = read_examples(made)
    open_ones = [row for row in rows if row["answer"].strip() != row["other"].strip()]
    assert len(asked) == 2 * len(open_ones) > 0
    points = [0.5 + 0.5 * ((a > b) - (a < b)) for a, b in lengths(rows)]
    assert [row["points"] for row in rows] == points
    assert metrics(made)["win_rate"] == pytest.approx(sum(points) / len(points))
    assert metrics(made)["agreement"] == 1
    assert metrics(made)["unparsed"] == 0
    assert metrics(made)["first_preferred"] == 0.5
    assert made.facts["vs"] == "base"
    (kept,) = (tmp_path / "cache" / "variantforge" / "opponents").glob("*/answers.jsonl")
    before = kept.read_bytes()
    again, asked = fought(tmp_path / "second", base, base, prefers(len))
    assert (metrics(again), again.facts["same_answer"], asked) == ({"win_rate": 0.5}, len(ASKED), [])
    assert kept.read_bytes() == before  # the opponent has answered once for all subjects


def lengths(rows: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(len(row["answer"].strip()), len(row["other"].strip())) for row in rows]


def decided(
    root: Path, opinion: Opinion, answers: Sequence[tuple[str, str]], **judge: Any
) -> tuple[list[dict[str, Any]], int]:
    """Rows of pairs with these answers, and how often the judge was asked."""
    pairs = [
        Pair(of_text(f"q{at}", f"Question {at}?"), *(Answer(text, 1, "stop") for text in both))
        for at, both in enumerate(answers)
    ]
    (root / "scratch").mkdir(parents=True)
    step = Step("evaluate", 1, "arena", hints={"pace": {"concurrency": 4}})
    with sitting(opinion) as court:
        spec = JudgeSpec(endpoint=court.url, model="wise", **judge)
        return judged(StepContext(step, {}, root, root / "scratch"), spec, pairs), len(court.asked)


def value(rows: Sequence[dict[str, Any]], name: str) -> float:
    return interval(next(one for one in Arena.METRICS if one.name == name), rows).value


def test_a_planted_preference_comes_out_with_its_interval_and_its_strength(tmp_path: Path) -> None:
    dice = random.Random(1)
    answers = [
        (f"ours {at}" + "!" * (dice.random() < 0.7), f"theirs {at}" + "!" * (dice.random() < 0.3)) for at in range(120)
    ]
    planted = [0.5 + ((ours[-1] == "!") - (theirs[-1] == "!")) / 2 for ours, theirs in answers]
    rows, asked = decided(tmp_path, prefers(lambda text: text[-1] == "!"), answers)
    assert asked == 240
    assert [row["points"] for row in rows] == planted
    assert (value(rows, "agreement"), value(rows, "first_preferred"), value(rows, "unparsed")) == (1, 0.5, 0)
    found = interval(Arena.METRICS[0], rows)
    assert found.low is not None
    assert found.high is not None
    assert found.low < sum(planted) / 120 < found.high
    stronger, _ = strengths(games_of(rows, "ours", "theirs"), "theirs")
    share = (sum(planted) + 0.5) / 121
    assert stronger.value == pytest.approx(400 * log10(share / (1 - share)), abs=0.01)


def test_swapping_the_two_turns_the_win_rate_round_and_keeps_all_else(tmp_path: Path) -> None:
    answers = [("a" * dice, "b" * (9 - dice)) for dice in (1, 7, 3, 9, 5, 2, 8)]
    noisy = lambda question: "Verdict: A" if "bb" in answers_in(question)[1] else "Verdict: tie"  # noqa: E731
    rows, _ = decided(tmp_path / "a", noisy, answers)
    swapped, _ = decided(tmp_path / "b", noisy, [pair[::-1] for pair in answers])
    assert value(swapped, "win_rate") == pytest.approx(1 - value(rows, "win_rate"))
    for name in ("agreement", "first_preferred", "unparsed"):
        assert value(swapped, name) == value(rows, name)


def test_a_judge_that_likes_the_first_place_decides_nothing_and_is_seen(tmp_path: Path) -> None:
    rows, _ = decided(tmp_path, lambda question: "Verdict: A", [("a", "b"), ("c", "d")])
    assert (value(rows, "win_rate"), value(rows, "first_preferred"), value(rows, "agreement")) == (0.5, 1, 0)


def test_equal_answers_are_a_tie_without_a_question_and_say_nothing_of_the_judge(tmp_path: Path) -> None:
    answers = [(" same\n", "same"), ("<think>Hm</think>same", "same"), ("one", "other")]
    rows, asked = decided(tmp_path, lambda question: "Verdict: A", answers)
    assert asked == 2
    assert [row["points"] for row in rows] == [0.5] * 3
    assert (value(rows, "win_rate"), value(rows, "agreement")) == (0.5, 0)
    assert ["agreed" in row for row in rows] == [False, False, True]


def test_verdicts_that_cannot_be_read_are_counted_and_above_the_limit_an_error(tmp_path: Path) -> None:
    answers = [("a", "b"), ("c", "d"), ("e", "f"), ("g", "h")]
    opinion = lambda text: "Verdict: tie" if "Question 3" not in text else "I would rather not say."  # noqa: E731
    rows, asked = decided(tmp_path, opinion, answers, unparsed_at_most=0.25)
    assert (rows[3]["unparsed"], rows[3]["judgements"]) == (2, ["I would rather not say."] * 2)
    assert "points" not in rows[3]
    assert value(rows, "unparsed") == 2 / asked
    assert interval(Arena.METRICS[0], rows).n == 3
    with pytest.raises(JudgeUnclear, match="hold no verdict that can be read"):
        decided(tmp_path / "strict", opinion, answers)
    with pytest.raises(EvaluateError, match="not one pair"):
        decided(tmp_path / "none", lambda question: "?", answers, unparsed_at_most=1.0)


def test_held_out_rows_are_asked_up_to_their_answers_and_as_many_as_wanted(
    tmp_path: Path, merged: Artifact, base: Artifact, data: Artifact
) -> None:
    more = {"inputs": {"data": data}, "max_prompts": 5, "pins": {}}
    made, asked = fought(tmp_path, merged, base, prefers(len), **more)
    rows = read_examples(made)
    assert len(rows) == 5
    assert {row["source"] for row in rows} == {"talk"}
    assert all(row["prompt"].startswith("Question ") and "parser" not in row["prompt"] for row in rows)
    assert all(len(answers_in(body["messages"][0]["content"])) == 2 for _, body, _ in asked)
    nothing = data_artifact(tmp_path, [{"id": "a", "source": "s", "text": "plain"}], "plain")
    with pytest.raises(EvaluateError, match="no held-out prompt") as failed:
        fought(tmp_path / "none", merged, base, prefers(len), pins={}, inputs={"data": nothing})
    assert "fraction" in failed.value.next


@pytest.mark.slow
def test_a_real_model_in_llama_cpp_judges_a_real_pair(tmp_path: Path, gguf: Artifact, base: Artifact) -> None:
    """Plumbing alone: a model of 135M parameters is no judge, and the limit says so."""
    pins = {"prompts": written(tmp_path, ASKED[:3]), "judge": Pin("1" * 64, str(smollm2_gguf()))}
    inputs = {"model": gguf, "base": base}
    judge = identity_of(JudgeSpec(model="./j.gguf", max_tokens=64))
    step = Step("evaluate", 1, "arena", {"max_tokens": 6, "judging": 1, "judge": judge}, {}, pins)
    with pytest.raises((JudgeUnclear, EvaluateError)) as failed:
        do_step(STAGE, step, tmp_path, inputs)
    assert "stronger judge" in failed.value.next


# --- planning ---------------------------------------------------------------------------------------------------------


def planned(**params: Any) -> Table:
    table = Table.of(evaluate={"duel": {"evaluator": "arena", "judge": JUDGE, **params}})
    table.plan(STAGE)
    return table


def duels(table: Table) -> dict[str, Step]:
    return {place.name: step for place, step in table.places.items() if place.stage == "evaluate"}


def test_nobody_is_compared_with_itself() -> None:
    assert list(duels(planned())) == ["duel:merged", "duel:nf4", "duel:gguf:Q8_0"]
    assert list(duels(planned(vs="merged"))) == ["duel:nf4", "duel:gguf:Q8_0"]
    assert set(duels(planned())["duel:nf4"].inputs) == {"model", "base", "data"}
    assert set(duels(planned(vs="merged"))["duel:nf4"].inputs) == {"model", "reference", "data"}
    assert Arena().needs(ArenaParams(judge=JudgeSpec(**JUDGE), path="./p.jsonl"), "merged") == ("base",)


def test_what_changes_answers_or_verdicts_changes_the_key_and_the_pace_does_not() -> None:
    plain = duels(planned())["duel:nf4"]
    for changed in (
        {"vs": "merged"}, {"max_prompts": 5}, {"max_tokens": 9}, {"dtype": "bfloat16"},
        *({"judge": {**JUDGE, **told}} for told in (
            {"model": "other"}, {"endpoint": "http://localhost:8/v1"}, {"max_tokens": 3}, {"temperature": 1.0},
            {"seed": 3}, {"unparsed_at_most": 0.5},
        )),
    ):  # fmt: skip
        assert duels(planned(**changed))["duel:nf4"].key != plain.key, changed
    for same in ({"api_key_env": "KEY"}, {"requests_per_minute": 3.0}, {"concurrency": 9}, {"timeout_s": 3.0}):
        other = duels(planned(judge={**JUDGE, **same}))["duel:nf4"]
        assert other.key == plain.key, same
        assert other.hints != plain.hints
    assert duels(planned(judge={**JUDGE, "endpoint": "http://localhost:9/v1/"}))["duel:nf4"].key == plain.key


@pytest.mark.parametrize(
    ("section", "key", "text"),
    [
        ({"judge": None}, "judge", "a mapping of keys is wanted here"),
        ({"judge": {"modle": "x"}}, "judge.modle", "Did you mean 'model'?"),
        ({"judge": {"model": "wise"}}, "judge", "'wise' is neither a Hub id"),
        ({"judge": {"model": "https://x.org/v1"}}, "judge", "an address is 'endpoint'"),
        ({"judge": {"model": "x/y", "timeout_s": 3.0}}, "judge", "'timeout_s' belongs to an endpoint"),
        ({"judge": {**JUDGE, "endpoint": "http://far.org/v1"}}, "judge.endpoint", "https://host/v1 is wanted"),
        ({"judge": {**JUDGE, "endpoint": "https://a:b@far.org/v1"}}, "judge.endpoint", "no name, password"),
        ({"judge": {**JUDGE, "unparsed_at_most": 2.0}}, "judge.unparsed_at_most", "at most 1 is wanted"),
        ({"judge": {**JUDGE, "api_key_env": "A-B"}}, "judge.api_key_env", "A-B"),
        ({"vs": "nf4"}, "vs", "the text 'nf4' is none of base, merged"),
        ({"path": "org/prompts"}, "path", "a local file is wanted here"),
        ({"max_prompts": 0}, "max_prompts", "at least 1 is wanted"),
    ],
    ids=range(12),
)
def test_wrong_parameters_are_told_while_planning(section: dict[str, Any], key: str, text: str) -> None:
    table = planned(**section)
    found = dict(table.problems)
    assert list(found) == [f"evaluate.duel.{key}"]
    assert text in found[f"evaluate.duel.{key}"]


def test_without_a_judge_there_is_no_arena() -> None:
    table = Table.of(evaluate={"duel": {"evaluator": "arena"}})
    table.plan(STAGE)
    told = "missing: who judges: {model: REF}, or {endpoint: URL, model: NAME}"
    assert table.problems == [("evaluate.duel.judge", told)]


def test_it_offers_what_the_stage_asks_for() -> None:
    arena = Arena()
    assert isinstance(arena, HasJudge)
    assert isinstance(arena, HasPins)
    assert isinstance(arena, HasSuiteFiles)
    assert not isinstance(arena, HasSuite)
    params = ArenaParams(judge=JudgeSpec(**JUDGE), path="./p.jsonl")
    assert arena.suite_files(params) == {"path": "./p.jsonl"}
    assert why_wrong(of_text("a", "b", schema={})) == "unknown field 'schema': there are prompt, messages, id"
    assert why_wrong(of_text("a", "b")) == ""
