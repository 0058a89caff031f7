"""What is known of every file: sizes, measurements, verdicts, answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A value and its bounds; ``n`` examples. Of a metric two-sided 95 %, of a gain one-sided 95 % each."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Cell:
    """One file of one variant. ``state``: pass, fail, not enough data, not judged, forced, or missing.

    ``ships``: the repo that holds it; '' with ``withheld`` saying why, or when nothing of the kind is published.
    ``awaited``: evaluations that are to measure it, and have not.
    """

    variant: str
    subject: str
    state: str
    size_bytes: int | None
    bits_per_weight: float | None
    ships: str
    withheld: str
    metrics: dict[str, Estimate]
    awaited: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Point:
    subject: str
    x: float
    y: Estimate
    best: bool  # nothing is better at both


@dataclass(frozen=True)
class TradeOff:
    """Quality (``metric``) of one variant's files against ``against``: size_bytes, or a metric of speed."""

    variant: str
    metric: str
    better: str
    against: str
    against_better: str
    points: list[Point]


@dataclass(frozen=True)
class GateRow:
    variant: str
    subject: str
    verdict: str
    demand: str
    bound: str  # better_by, worse_by_at_most, at_most, at_least
    margin: float | None
    estimate: Estimate | None  # None: there was nothing to compare with
    why: str
    among_all: str  # the verdict when all demands of the release are looked at together; '' where that was not done
    forced: str


@dataclass(frozen=True)
class GatePanel:
    """Demands on one metric that stand on one axis: gains over ``vs``, or, without it, the metric itself."""

    metric: str
    vs: str
    rows: list[GateRow]


@dataclass(frozen=True)
class Measurement:
    """A metric of a subject. ``gains``: over base, merged, previous: positive is better; one-sided 95 % bounds."""

    metric: str
    subject: str
    better: str | None
    estimate: Estimate
    gains: dict[str, Estimate]


@dataclass(frozen=True)
class Suite:
    """``machines``: where speed was measured, and in which runtimes; [] of what does not hang on the machine."""

    evaluation: str
    evaluator: str
    variant: str
    rows: list[Measurement]
    facts: dict[str, Any]
    machines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    subject: str
    text: str
    cut: int  # characters left out
    marks: dict[str, float]  # the columns of the row that metrics sum
    verdict: str = ""  # what the evaluator said of it in words, where it keeps that


@dataclass(frozen=True)
class Asked:
    """One item, and what several subjects answered. ``prompt`` is '' where the evaluator keeps none."""

    id: str
    prompt: str
    prompt_cut: int
    answers: list[Answer]


@dataclass(frozen=True)
class SideBySide:
    evaluation: str
    variant: str
    items: list[Asked]
    of: int  # items that have answers
