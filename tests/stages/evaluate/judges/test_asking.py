"""A judge is asked each question once, its answers outlive a kill, and what goes wrong is told of a judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stages.data.teacher.school import says
from tests.stages.evaluate.judges.court import sitting
from tests.tiny import smollm2_gguf
from variantforge.errors import EvaluateError, Interrupted, JudgeRefused, JudgeUnclear
from variantforge.stages.evaluate.judges.asking import KEPT, ask, refuse_unclear
from variantforge.stages.evaluate.judges.spec import JudgeSpec
from variantforge.step import Artifact, Pin, Step, StepContext

PACE = {"timeout_s": 5.0, "concurrency": 2, "requests_per_minute": None}


def questions(*texts: str) -> list[list[dict[str, Any]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def context(root: Path, **more: Any) -> StepContext:
    step = Step(
        "evaluate", 1, "arena", {}, more.pop("keys", {}), more.pop("pins", {}), more.pop("hints", {"pace": PACE})
    )
    for folder in ("out", "scratch"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    return StepContext(step, more.pop("inputs", {}), root / "out", root / "scratch", **more)


def test_equal_questions_are_asked_once_and_answered_in_order(tmp_path: Path) -> None:
    with sitting(str.upper) as court:
        judge = JudgeSpec(model="wise", endpoint=court.url, max_tokens=9, temperature=0.5, seed=4)
        assert ask(context(tmp_path), judge, questions("b", "a", "b")) == ["B", "A", "B"]
        assert len(court.asked) == 2
        path, body, _ = court.asked[0]
        assert path == "/v1/chat/completions"
        assert {k: body[k] for k in ("model", "max_tokens", "temperature", "seed")} == {
            "model": "wise", "max_tokens": 9, "temperature": 0.5, "seed": 4,
        }  # fmt: skip
        assert ask(context(tmp_path / "later"), judge, questions("a", "c")) == ["A", "C"]
        assert len(court.asked) == 3  # the cache outlives the step
        for other in ({"model": "other"}, {"seed": 5}, {"max_tokens": 8}, {"temperature": 0.1}):
            ask(context(tmp_path / "later"), judge.model_copy(update=other), questions("a"))
        assert len(court.asked) == 7


def test_what_was_answered_before_a_failure_is_kept(tmp_path: Path) -> None:
    with sitting(str.upper) as court:
        judge = JudgeSpec(model="wise", endpoint=court.url)
        slow = context(tmp_path, hints={"pace": {**PACE, "concurrency": 1}})
        court.faults = [lambda handler: False, says(400, "too long")]
        with pytest.raises(JudgeRefused, match="the judge wise at") as failed:
            ask(slow, judge, questions("a", "b", "c"))
        assert "too long" in failed.value.why
        assert failed.value.next.startswith("correct 'judge' in the family file")
        assert len((tmp_path / "scratch" / KEPT).read_text().splitlines()) == 1
        assert ask(slow, judge, questions("a", "b", "c")) == ["A", "B", "C"]
        assert [body["messages"][0]["content"] for _, body, _ in court.asked] == ["a", "b", "b", "c"]


def test_a_key_is_named_when_it_is_missing_and_sent_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sitting(str.upper) as court:
        judge = JudgeSpec(model="wise", endpoint=court.url, api_key_env="COURT_KEY")
        keyed = context(tmp_path, hints={"pace": PACE, "api_key_env": "COURT_KEY"})
        with pytest.raises(JudgeRefused) as failed:
            ask(keyed, judge, questions("a"))
        assert failed.value.next.startswith("export COURT_KEY=")
        monkeypatch.setenv("COURT_KEY", "s3cr3t-of-the-court")
        ask(keyed, judge, questions("a"))
        assert court.asked[0][2]["Authorization"] == "Bearer s3cr3t-of-the-court"
        kept = (tmp_path / "scratch" / KEPT).read_text()
        assert "s3cr3t" not in kept
        court.faults = [says(401, "who are you")]
        with pytest.raises(JudgeRefused) as failed:
            ask(context(tmp_path / "b"), judge, questions("z"))
        assert "judge: {api_key_env: NAME}" in failed.value.next


def test_a_stop_is_heeded(tmp_path: Path) -> None:
    with sitting(str.upper) as court, pytest.raises(Interrupted, match="the judge wrote"):
        judge = JudgeSpec(model="wise", endpoint=court.url)
        ask(context(tmp_path, stopping=lambda: True), judge, questions("a", "b", "c", "d"))


def test_a_folder_judges_through_its_own_template(tmp_path: Path, base: Artifact) -> None:
    judge = JudgeSpec(model="./pinned", max_tokens=4)
    made = [
        ask(context(tmp_path / str(at), keys={"judge": "base"}, inputs={"judge": base}), judge, questions("a", "b"))
        for at in range(2)
    ]
    assert made[0] == made[1]
    assert len(made[0]) == 2
    kept = [json.loads(line) for line in (tmp_path / "0" / "scratch" / KEPT).read_text().splitlines()]
    assert [answer["content"] for _, answer in kept] == made[0] or len(kept) == 2


@pytest.mark.slow
def test_a_gguf_file_judges_over_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = Pin("1" * 64, str(smollm2_gguf()))
    judge = JudgeSpec(model="./pinned.gguf", max_tokens=12)
    asked = questions("Say hello.", "Count to three.")
    said = ask(context(tmp_path, pins={"judge": pin}), judge, asked)
    assert all(said)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert ask(context(tmp_path / "again", pins={"judge": pin}), judge, asked) == said


def test_a_file_that_is_no_model_is_an_error_of_the_evaluation(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"no")
    pin = Pin("1" * 64, str(tmp_path / "x.gguf"))
    with pytest.raises(EvaluateError, match=r"llama\.cpp cannot run x\.gguf"):
        ask(context(tmp_path, pins={"judge": pin}), JudgeSpec(model="./pinned.gguf"), questions("a"))


def test_unread_verdicts_are_borne_up_to_the_limit_and_then_shown() -> None:
    judge = JudgeSpec(model="./m", unparsed_at_most=0.25)
    said = ["fine", "Who knows?  I cannot say.", "fine", "fine"]
    refuse_unclear(judge, said, [1])
    with pytest.raises(JudgeUnclear, match="2 of 4 judgements") as failed:
        refuse_unclear(judge, said, [1, 2])
    assert "'Who knows? I cannot say.'" in failed.value.why
    assert "judge.max_tokens (512)" in failed.value.next
    refuse_unclear(replace_limit(judge, 0.0), said, [])


def replace_limit(judge: JudgeSpec, limit: float) -> JudgeSpec:
    return judge.model_copy(update={"unparsed_at_most": limit})
