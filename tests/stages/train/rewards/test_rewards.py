"""What each reward gives, and what is told of wrong parameters while planning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from variantforge.errors import DataError, IntegrityError, RewardFailed, TrainError, WrongRows
from variantforge.sandbox import require
from variantforge.spec.family import RewardSpec
from variantforge.stages.rows import make_row
from variantforge.stages.train.rewards import REWARDS, Answer
from variantforge.stages.train.rewards.exact_answer import as_number, last_boxed
from variantforge.stages.train.scoring import Scorer, planned, scorers_of
from variantforge.step import Pin, Step

Scores = list[float | None]


def row(**fields: Any) -> dict[str, Any]:
    return make_row("asked", {"prompt": [{"role": "user", "content": "What is it?"}], **fields})


def scores(reward: str, texts: list[str], params: Mapping[str, Any] | None = None, **fields: Any) -> Scores:
    kind = REWARDS.load(reward)
    asked = row(**fields)
    answers = [Answer(asked, text, [ord(letter) for letter in text]) for text in texts]
    return [score.value for score in kind(kind.Params(**(params or {})), {}).score(answers)]


# --- exact answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "answer", "right", "wrong"),
    [
        ({}, "Paris", [" Paris\n", "Paris"], ["paris", "It is Paris", "Paris."]),
        ({"ignore_case": True}, "Paris", ["PARIS"], ["Rome"]),
        ({}, "1200", ["1,200", "1200.0", "$1,200."], ["1201", "12 00", "-1200"]),
        ({"extract": "last_number"}, "42", ["so 6 * 7 = 42.", "42 apples"], ["42 or 43", "many", ""]),
        ({"extract": "last_number"}, "6 * 7 = <<6*7=42>>42\n#### 42", ["it is 42"], ["it is 6"]),
        ({"extract": "boxed"}, "\\frac{1}{2}", ["so \\boxed{\\frac{1}{2}}"], ["\\frac{1}{2}", "\\boxed{\\frac{1}{2}"]),
        ({"extract": "boxed"}, "x = \\boxed{3}", ["\\boxed{1} no, \\boxed{3}"], ["\\boxed{3} no, \\boxed{1}"]),
        ({"extract": "after"}, "so\n#### 72", ["so\n#### 72\nbye", "#### 72.0"], ["72", "#### 7"]),
        ({"extract": "after", "marker": "Answer:"}, "B", ["I think.\nAnswer: B"], ["Answer: A", "B"]),
    ],
)
def test_exact_answers(params: dict[str, Any], answer: str, right: list[str], wrong: list[str]) -> None:
    assert scores("exact_answer", right, params, answer=answer) == [1.0] * len(right)
    assert scores("exact_answer", wrong, params, answer=answer) == [0.0] * len(wrong)


def test_numbers_and_boxes_are_read_as_people_write_them() -> None:
    assert as_number("-1,234.50") == as_number("-1234.5")
    assert as_number("1e5") is None
    assert as_number("9" * 10_000) is None
    assert last_boxed("\\boxed{a{b}c} and \\boxed{}") == ""
    assert last_boxed("nothing") is None


# --- patterns and JSON ----------------------------------------------------------------------------------------------


def test_patterns() -> None:
    assert scores("regex", ["a1", "b"], {"pattern": r"\d"}) == [1.0, 0.0]
    assert scores("regex", ["a1", "1"], {"pattern": r"\d", "match": "full"}) == [0.0, 1.0]
    assert scores("regex", ["<B>\nx</B>"], {"pattern": "<b>.*</b>", "ignore_case": True}) == [1.0]


def test_json() -> None:
    texts = ['{"a": 1}', "[1, 2]", " 3 ", "{a: 1}", "", "NaN", '{"a": 1} and more', "[" * 100_000]
    assert scores("json_valid", texts) == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    fenced = 'Here:\n```json\n{"a": 1}\n```\nDone.'
    assert scores("json_valid", [fenced]) == [0.0]
    assert scores("json_valid", [fenced, "[1]"], {"fenced": True}) == [1.0, 1.0]


def test_json_of_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert scores("json_valid", ['{"a": 1}', '{"a": "1"}', "[]"], {"schema": schema}) == [1.0, 0.0, 0.0]


def test_a_schema_fetches_nothing() -> None:
    with pytest.raises(Exception, match="Unresolvable"):
        scores("json_valid", ["1"], {"schema": {"$ref": "http://127.0.0.1:9/x.json"}})


# --- TRL's ----------------------------------------------------------------------------------------------------------


def test_rewards_of_trl() -> None:
    assert scores("think_format", ["<think>a</think>b", "b"]) == [1.0, 0.0]
    assert scores("repetition_penalty", ["aaaaaa", "abcdef"], {"ngram_size": 2}) == [-0.8, 0.0]
    assert scores("soft_overlong_punishment", ["aaaa"], {"max_completion_len": 4, "soft_punish_cache": 2}) == [-1.0]


# --- tests in the sandbox -------------------------------------------------------------------------------------------

RIGHT = "Sure:\n```python\ndef add(x, y):\n    return x + y\n```\nThat adds."
HALF = "```\ndef add(x, y):\n    return 3\n```"
ESCAPE = "```python\nimport os\nos._exit(0)\n```"


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    "tests",
    [
        "assert add(1, 2) == 3\nassert add(2, 2) == 4",
        json.dumps([{"input": [1, 2], "output": 3}, {"input": [2, 2], "output": 4}]),
    ],
)
def test_programs_are_scored_by_their_tests(tests: str) -> None:
    texts = [RIGHT, HALF, ESCAPE, "def add(x, y): return x + y", "I cannot."]
    fields = {"tests": tests, "entry_point": "add"}
    assert scores("unit_tests", texts, **fields) == [1.0, 0.5, 0.0, 1.0, 0.0]
    assert scores("unit_tests", texts[:2], {"score": "all"}, **fields) == [1.0, 0.0]
    assert scores("unit_tests", texts[:1], {"code": "whole"}, **fields) == [0.0]


@pytest.mark.usefixtures("sandbox")
def test_tests_in_which_nothing_can_fail_are_an_error() -> None:
    with pytest.raises(DataError, match="cannot be used") as caught:
        scores("unit_tests", [RIGHT], tests="print(add(1, 2))")
    assert "nothing in the tests can fail" in caught.value.why


def test_without_a_sandbox_no_program_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    from variantforge.errors import SandboxMissing
    from variantforge.sandbox import bubblewrap

    def refuse() -> None:
        raise bubblewrap.missing("bubblewrap (bwrap) is not installed", bubblewrap.INSTALL)

    monkeypatch.setattr("variantforge.sandbox.require", refuse)
    with pytest.raises(SandboxMissing) as caught:
        scores("unit_tests", [RIGHT], tests="assert add(1, 2) == 3")
    assert caught.value.exit_code == 7


@pytest.fixture(scope="session")
def sandbox() -> None:
    from variantforge.errors import SandboxMissing

    try:
        require()
    except SandboxMissing as error:
        pytest.skip(f"{error.why}; type: {error.next}")


# --- a function of the user's ---------------------------------------------------------------------------------------

CODE = """
def brevity(prompts, completions, completion_ids, answer, level, **more):
    assert prompts[0][0]["content"] == "What is it?"
    return [None if wanted == "?" else len(given[0]["content"]) / 10 for given, wanted in zip(completions, answer)]

def broken(**columns):
    raise RuntimeError("no idea")

def short(**columns):
    return []

def nan(completions, **columns):
    return [float("nan")] * len(completions)

constant = 3
"""


class Desk:
    """What rewards ask while planning: pins of files, and problems told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.at_key = folder, "variants.code"
        self.problems: dict[str, str] = {}

    def look(self, path: Path) -> None: ...

    def pin_files(self, files: list[Path], *, key: str) -> Pin:
        from variantforge import Resolver

        return Resolver().pin_files(files)

    def problem(self, key: str, text: str) -> None:
        self.problems[key] = text

    def plan(self, *rewards: dict[str, Any]) -> Any:
        desk: Any = self
        return planned(desk, [RewardSpec(**reward) for reward in rewards])


def scorers(needs: Any) -> list[Scorer]:
    return scorers_of(Step("train", 1, "grpo", params=needs.params, pins=needs.pins))


def call(scorer: Scorer, texts: list[str], **fields: Any) -> Scores:
    asked = row(**fields)
    scorer.read([asked])
    ids = [[1]] * len(texts)
    return scorer([asked["id"]] * len(texts), texts, ids, lambda name, values: None)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "mine.py").write_text(CODE)
    return Desk(tmp_path)


def test_a_function_is_called_as_trl_calls_it(desk: Desk) -> None:
    needs = desk.plan({"reward": "python", "function": "./mine.py:brevity", "weight": 0.5})
    (scorer,) = scorers(needs)
    assert (scorer.__name__, scorer.weight) == ("python", 0.5)
    assert call(scorer, ["abcde", "ab"], answer="x", extra={"level": 3}) == [0.5, 0.2]
    assert call(scorer, ["abcde"], answer="?", extra={"level": 3}) == [None]
    assert not list(desk.folder.glob("__pycache__"))


def test_a_function_counts_by_its_bytes(desk: Desk) -> None:
    before = desk.plan({"reward": "python", "function": "./mine.py:brevity"})
    (desk.folder / "mine.py").write_text(CODE + "\n# changed\n")
    after = desk.plan({"reward": "python", "function": "./mine.py:brevity"})
    assert before.pins["code ./mine.py:brevity"].digest != after.pins["code ./mine.py:brevity"].digest
    with pytest.raises(IntegrityError, match=r"mine\.py has changed"):
        scorers(before)


@pytest.mark.parametrize(
    ("name", "told"), [("broken", "RuntimeError: no idea"), ("short", "0 scores for 1"), ("nan", "gave nan")]
)
def test_a_reward_that_breaks_is_an_error_and_never_a_score(desk: Desk, name: str, told: str) -> None:
    (scorer,) = scorers(desk.plan({"reward": "python", "function": f"./mine.py:{name}"}))
    with pytest.raises(RewardFailed, match=told):
        call(scorer, ["x"])


def test_what_is_no_function_is_told(desk: Desk) -> None:
    needs = desk.plan({"reward": "python", "function": "./mine.py:constant"})
    with pytest.raises(TrainError, match="is not a function"):
        scorers(needs)


def test_functions_of_installed_packages_are_found(desk: Desk) -> None:
    needs = desk.plan({"reward": "python", "function": "trl.rewards.format_rewards:think_format_reward"})
    (scorer,) = scorers(needs)
    assert call(scorer, ["<think>a</think>", "b"]) == [1.0, 0.0]


# --- planning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "key", "told"),
    [
        ({"reward": "exact_anser"}, "[0].reward", "Did you mean 'exact_answer'?"),
        ({"reward": "exact_answer", "extrct": "boxed"}, "[0].extrct", "Did you mean 'extract'?"),
        ({"reward": "exact_answer", "extract": "box"}, "[0].extract", "boxed"),
        ({"reward": "exact_answer", "marker": "x"}, "[0]", "extract: after"),
        ({"reward": "regex"}, "[0].pattern", "missing"),
        ({"reward": "regex", "pattern": "("}, "[0].pattern", "not a regular expression"),
        ({"reward": "json_valid", "schema": {"type": "objekt"}}, "[0].schema", "not a JSON Schema"),
        ({"reward": "unit_tests", "timeout_s": 0}, "[0].timeout_s", "more than 0"),
        ({"reward": "think_format", "x": 1}, "[0].x", "Known: none."),
        ({"reward": "python", "function": "mine"}, "[0].function", "is wanted"),
        ({"reward": "python", "function": "./none.py:f"}, "[0].function", "there is no file ./none.py"),
        ({"reward": "python", "function": "./mine.py:f"}, "[0].function", "mine.py defines no 'f'"),
        ({"reward": "python", "function": "no_such_package:f"}, "[0].function", "there is no module"),
        ({"reward": "regex", "pattern": "x", "weight": 0.0}, "", "every weight is 0"),
    ],
)
def test_wrong_rewards_are_told_while_planning(desk: Desk, reward: dict[str, Any], key: str, told: str) -> None:
    desk.plan(reward)
    assert told in desk.problems[f"variants.code.train.rewards{key}"]
    assert len(desk.problems) == 1


def test_no_reward_is_told(desk: Desk) -> None:
    assert desk.plan() is None
    assert "grpo needs rewards" in desk.problems["variants.code.train.rewards"]


def test_every_parameter_counts_and_defaults_do_not(desk: Desk) -> None:
    plain = desk.plan({"reward": "exact_answer"})
    assert desk.plan({"reward": "exact_answer", "extract": "whole", "weight": 1.0}).params == plain.params
    assert desk.plan({"reward": "exact_answer", "extract": "boxed"}).params != plain.params
    assert desk.plan({"reward": "exact_answer", "weight": 2.0}).params != plain.params


def test_rows_without_what_a_reward_reads_are_told(desk: Desk) -> None:
    (scorer,) = scorers(desk.plan({"reward": "exact_answer"}))
    with pytest.raises(WrongRows, match=r"without 'answer': 1 of 2"):
        scorer.read([row(answer="x"), row()])


def test_two_of_a_kind_have_two_names(desk: Desk) -> None:
    needs = desk.plan({"reward": "regex", "pattern": "a"}, {"reward": "regex", "pattern": "b"})
    assert [scorer.__name__ for scorer in scorers(needs)] == ["regex", "regex_2"]
    assert SimpleNamespace(**needs.params).rewards[1]["params"] == {"pattern": "b"}
