"""What is told while steps run: few lines where nobody looks, bars on a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest

from variantforge.cli.output import Output
from variantforge.cli.progress import EVERY_S, Bars, Lines, how_far, metrics, remaining, reporter_for
from variantforge.plan.explain import Run
from variantforge.run.results import Result


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def progress(done: float, total: float, unit: str = "step", **found: Any) -> dict[str, Any]:
    return {"kind": "progress", "done": done, "total": total, "unit": unit, "metrics": found}


@pytest.fixture
def clock() -> Clock:
    return Clock()


def started(clock: Clock) -> Lines:
    lines = Lines(Output(), clock)
    lines.start(None, {"a": Run("new"), "b": Run("new")})  # type: ignore[arg-type]
    lines.step_started("a", "train code")
    return lines


def test_a_long_step_is_told_of_at_most_every_ten_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = started(clock)
    for second in range(61):
        clock.now = float(second)
        lines.event("a", progress(second, 100, loss=2.0 - second / 100, tokens_per_s=1234.5))
    told = [line for line in capsys.readouterr().err.splitlines() if "steps  " in line]
    assert len(told) == 60 / EVERY_S
    assert told[0] == "[1/2] train code: 10/100 steps  loss 1.9  1,234 tokens/s  1 min 30 s left"


def test_the_time_left_counts_from_where_a_resumed_step_went_on(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = started(clock)
    lines.event("a", progress(80, 100))
    clock.now = 20.0
    lines.event("a", progress(90, 100))
    assert "90/100 steps  20 s left" in capsys.readouterr().err


def test_each_of_several_steps_at_work_keeps_its_number_and_its_own_pace(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = started(clock)
    clock.now = 4.0
    lines.step_started("b", "quantize code nf4")
    lines.step_started("b", "quantize code nf4")  # it is tried again
    for key, done in (("a", 0), ("b", 0), ("a", 50), ("b", 10)):
        clock.now += 5.0
        lines.event(key, progress(done, 100))
    lines.step_ended("a", "train code", Result("done", 24.0))
    lines.event("b", {"kind": "note", "text": "a note"})
    assert capsys.readouterr().err.splitlines()[2:] == [
        "[2/2] quantize code nf4",
        "[2/2] quantize code nf4",
        "[2/2] quantize code nf4: 0/100 steps",
        "[1/2] train code: 50/100 steps  10 s left",
        "[2/2] quantize code nf4: 10/100 steps  1 min 30 s left",
        "[1/2] train code done in 24 s",
        "[2/2] quantize code nf4: a note",
    ]


def test_notes_are_told_at_once_and_with_the_step(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    started(clock).event("a", {"kind": "note", "text": "3 rows skipped"})
    assert "[1/2] train code: 3 rows skipped\n" in capsys.readouterr().err


def test_an_event_of_an_unknown_kind_is_let_pass(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = started(clock)
    capsys.readouterr()
    lines.event("a", {"kind": "started", "pid": 1})
    assert capsys.readouterr().err == ""


def test_the_end_of_a_step_tells_how_and_why(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = started(clock)
    capsys.readouterr()
    lines.step_ended("a", "train code", Result("failed", 83.0, "the loss is nan\nat step 5"))
    lines.step_ended("b", "merge code", Result("not run", message="needs train code, which is failed"))
    assert capsys.readouterr().err == "[1/2] train code failed in 1 min 23 s: the loss is nan\n"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (progress(1200, 4000), "1,200/4,000 steps"),
        (progress(3, 0, "row"), "3 rows"),
        (progress(0.35, 1, ""), "35 %"),
        (progress(35, 100, "%"), "35 %"),
        (progress(1, 0, ""), ""),
        (progress(5e8, 2e9, "bytes"), "500.0 MB of 2.0 GB"),
        (progress(3, 9, "parameters"), "3/9 parameters"),
        (progress(3, 9, "prompt of the merged model"), "3/9 prompts of the merged model"),
    ],
)
def test_how_far_a_step_is(event: dict[str, Any], text: str) -> None:
    assert how_far(event) == text


def test_loss_and_speed_come_before_any_other_figure() -> None:
    found = metrics(progress(1, 2, learning_rate=1e-4, grad_norm=1.0, tokens_per_s=5678.0, loss=1.23456))
    assert found == ["loss 1.235", "5,678 tokens/s"]
    assert metrics(progress(1, 2, rows=12, name="x")) == ["rows 12"]


def test_there_is_no_time_left_without_a_pace() -> None:
    assert remaining(0, 100, 10) is None
    assert remaining(10, 0, 10) is None
    assert remaining(10, 30, 10) == 30


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_several_steps_at_work_have_a_bar_each(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    with Bars(Output()) as reporter:
        reporter.start(None, {"a": Run("new"), "b": Run("new")})  # type: ignore[arg-type]
        reporter.step_started("a", "quantize code nf4")
        reporter.step_started("b", "quantize code int8")
        reporter.event("a", progress(1, 3, "phase"))
        reporter.event("b", progress(2, 3, "phase"))
        assert reporter._progress
        assert [(bar.description, bar.completed) for bar in reporter._progress.tasks] == [
            ("quantize code nf4", 1),
            ("quantize code int8", 2),
        ]
        reporter.step_ended("a", "quantize code nf4", Result("done", 3.0))
        assert [bar.description for bar in reporter._progress.tasks] == ["quantize code int8"]
        reporter.step_ended("b", "quantize code int8", Result("done", 3.0))
    assert "quantize code nf4 done in 3.0 s\n" in screen.getvalue()


def test_bars_show_the_step_at_work_and_leave_a_line_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    reporter = reporter_for(Output())
    assert isinstance(reporter, Bars)
    with reporter:
        reporter.start(None, {"a": Run("new")})  # type: ignore[arg-type]
        reporter.step_started("a", "train code [lora]")
        reporter.event("a", progress(120, 400, loss=1.234, tokens_per_s=5678.0))
        assert reporter._progress
        reporter._progress.refresh()
        reporter.event("a", {"kind": "note", "text": "3 rows skipped"})
        reporter.step_ended("a", "train code [lora]", Result("done", 83.0))
    shown = screen.getvalue()
    assert "[1/1] train code [lora]" in shown
    assert "120/400 steps" in shown
    assert "loss 1.234  5,678 tokens/s" in shown
    assert "train code [lora]: 3 rows skipped\n" in shown
    assert "train code [lora] done in 1 min 23 s\n" in shown
