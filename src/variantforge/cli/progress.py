"""What a person sees while steps run, on stderr: live bars on a terminal, else plain lines, few and far between.

Several steps may be at work at once: each keeps the number it began with, and each has a bar of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from variantforge.cli.output import Cell, Output
from variantforge.cli.words import counted, duration, figure, size
from variantforge.errors import Interrupted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from variantforge.plan.build import Plan
    from variantforge.plan.explain import Decision
    from variantforge.run.results import Reporter, Result

EVERY_S = 10.0  # between two lines about one step
_FIRST = ("loss", "tokens_per_s")  # metrics told rather than any others
_MOST = 2
_RAN = ("done", "refused", "failed")  # other outcomes are of steps that were never started


class LiveReporter(Protocol):
    """Gives a ``Reporter`` that owns the terminal while it is entered."""

    def __enter__(self) -> Reporter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def reporter_for(out: Output) -> LiveReporter:
    return Bars(out) if out.is_terminal("stderr") else Lines(out)


@dataclass
class AtWork:
    """One step: its label, its place in the count (``[ 3/12]``), when it was told of last, and its first progress as
    (time, done): a resumed step is not new."""

    label: str
    position: str
    told: float
    first: tuple[float, float] | None = None


class Lines:
    """One line when a step starts and one when it ends; between, at most one every ``EVERY_S`` seconds of each."""

    def __init__(self, out: Output, clock: Callable[[], float] = time.monotonic) -> None:
        self.out, self.clock = out, clock
        self.total = self.number = 0
        self._at_work: dict[str, AtWork] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, plan: Plan, decisions: Mapping[str, Decision]) -> None:
        self.total = sum(decision.word == "run" for decision in decisions.values())
        if self.total:
            reused = sum(decision.word == "reuse" for decision in decisions.values())
            self.out.note(f"{counted(self.total, 'step')} to run, {reused} reused")

    def step_started(self, key: str, label: str) -> None:
        self.number += key not in self._at_work  # else it is tried again
        step = self._at_work[key] = AtWork(label, position(self.number, self.total), self.clock())
        self.out.note((step.position, "dim"), label)

    def event(self, key: str, event: Mapping[str, Any]) -> None:
        step = self._at_work[key]
        if event["kind"] == "note":
            self.out.note((step.position, "dim"), f"{step.label}: {event['text']}")
        elif event["kind"] == "progress":
            self._progress(step, event)

    def _progress(self, step: AtWork, event: Mapping[str, Any]) -> None:
        now = self.clock()
        if step.first is None:
            step.first = (now, event["done"])
        if now - step.told < EVERY_S:
            return
        step.told = now
        since, done = step.first
        left = remaining(event["done"] - done, event["total"] - event["done"], now - since)
        parts = [how_far(event), *metrics(event), f"{duration(left)} left" if left is not None else ""]
        self.out.note((step.position, "dim"), f"{step.label}: {'  '.join(part for part in parts if part)}")

    def step_ended(self, key: str, label: str, result: Result) -> None:
        if result.outcome in _RAN:
            self.out.note((self._at_work.pop(key).position, "dim"), *ending(label, result))


class Bars:
    """A bar for each step at work, what it last measured, and the time left; ended steps scroll up as lines."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self._progress: Progress | None = None
        self._at_work: dict[str, tuple[str, TaskID]] = {}  # label and bar
        self._number = self._total = 0

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def start(self, plan: Plan, decisions: Mapping[str, Decision]) -> None:
        """Takes the terminal, unless there is nothing to do."""
        self._total = sum(decision.word == "run" for decision in decisions.values())
        if self._total:
            self._progress = _bars(coloured=self.out.coloured("stderr"))
            self._progress.start()

    def step_started(self, key: str, label: str) -> None:
        self._number += key not in self._at_work  # else it is tried again, and has its bar
        if self._progress and key not in self._at_work:
            place = position(self._number, self._total)
            self._at_work[key] = label, self._progress.add_task(label, total=None, position=place, far="", metrics="")

    def event(self, key: str, event: Mapping[str, Any]) -> None:
        if self._progress is None:
            return
        label, bar = self._at_work[key]
        if event["kind"] == "note":
            self._line(f"{label}:", event["text"])
        elif event["kind"] == "progress":
            self._progress.update(
                bar,
                completed=event["done"],
                total=event["total"] or None,
                far=how_far(event),
                metrics="  ".join(metrics(event)),
            )

    def step_ended(self, key: str, label: str, result: Result) -> None:
        if result.outcome in _RAN and self._progress:
            self._progress.remove_task(self._at_work.pop(key)[1])
            self._line(*ending(label, result))

    def _line(self, *cells: Cell) -> None:
        from rich.text import Text

        text = " ".join(self.out.painted(cell, "stderr") for cell in cells)
        if self._progress:  # soft_wrap: the terminal folds a long line, and copying it gives one line again
            self._progress.console.print(Text.from_ansi(text), soft_wrap=True)


def position(number: int, total: int) -> str:
    """``[ 3/12]``: places of one count are of one width."""
    return f"[{number:>{len(str(total))}}/{total}]"


def _bars(*, coloured: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.fields[position]} {task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[far]}", markup=False),
        TextColumn("{task.fields[metrics]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, markup=False, no_color=not coloured),
        transient=True,
        refresh_per_second=5,
    )


def outcome_of(result: Result) -> str:
    """How a step ended, in one word; one that was stopped on request did not fail."""
    return "interrupted" if isinstance(result.error, Interrupted) else result.outcome


def ending(label: str, result: Result) -> tuple[Cell, ...]:
    """``train code  done in 1 min 20 s``; what went wrong follows its word."""
    first = result.message.partition("\n")[0]
    word = outcome_of(result)
    return label, (word, word), f"in {duration(result.seconds)}{': ' if first else ''}{first}"


def how_far(event: Mapping[str, Any]) -> str:
    """``120/400 steps``, ``1.2 GB of 2.0 GB``, ``35 %`` where no unit is counted, ``1,200 rows`` without an end."""
    done, total, unit = event["done"], event["total"], event["unit"]
    if unit in ("", "%"):
        return f"{100 * done / total:.0f} %" if total else ""
    if unit in ("byte", "bytes"):
        return f"{size(done)} of {size(total)}" if total else size(done)
    first, gap, rest = unit.partition(" ")
    units = f"{first}{'' if first.endswith('s') else 's'}{gap}{rest}"
    return f"{done:,.0f}/{total:,.0f} {units}" if total else f"{done:,.0f} {units}"


def metrics(event: Mapping[str, Any]) -> list[str]:
    """The figures worth a glance: loss and tokens/s, or the first two others."""
    found: Mapping[str, Any] = event["metrics"]
    names = [name for name in _FIRST if name in found] or list(found)
    return [_metric(name, found[name]) for name in names if isinstance(found[name], int | float)][:_MOST]


def _metric(name: str, value: float) -> str:
    return f"{value:,.0f} tokens/s" if name == "tokens_per_s" else f"{name} {figure(value)}"


def remaining(done: float, left: float, elapsed: float) -> float | None:
    """Seconds to go at the pace so far; None while there is no pace."""
    return left * elapsed / done if done > 0 and left > 0 and elapsed > 0 else None
