"""The form of what a report says: frozen data without a word of HTML, the same for ``--json`` and for the page.

None and '' mean that an artifact does not tell; nothing here is guessed. Values are those of facts and manifests.
"""

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
class Node:
    """``kind``: base, teacher, variant or format. ``state``: of a format, as of its ``Cell``; else here or missing."""

    id: str
    kind: str
    name: str
    note: str
    state: str


@dataclass(frozen=True)
class Edge:
    """``kind``: trained, from, teaches, writes (rows), or made (a format)."""

    source: str
    target: str
    kind: str


@dataclass(frozen=True)
class Lineage:
    nodes: list[Node]
    edges: list[Edge]


@dataclass(frozen=True)
class Cell:
    """One file of one variant. ``state``: pass, fail, not enough data, not judged, forced, or missing.

    ``ships``: the repo that holds it; '' with ``withheld`` saying why, or when nothing of the kind is published.
    """

    variant: str
    subject: str
    state: str
    size_bytes: int | None
    bits_per_weight: float | None
    ships: str
    withheld: str
    metrics: dict[str, Estimate]


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
    evaluation: str
    evaluator: str
    variant: str
    rows: list[Measurement]
    facts: dict[str, Any]


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


@dataclass(frozen=True)
class Curve:
    name: str
    points: list[tuple[float, float]]  # step, value
    of: int  # points before thinning out


@dataclass(frozen=True)
class Training:
    variant: str
    shared_with: list[str]
    method: str
    adapter: str
    curves: list[Curve]
    objective: dict[str, tuple[float | None, float | None]]  # first and last
    facts: dict[str, Any]
    notes: list[str]
    seconds: float | None


@dataclass(frozen=True)
class Source:
    name: str
    train: int
    heldout: int
    of: int | None
    share: float | None
    repeats: float | None


@dataclass(frozen=True)
class Suspect:
    """What a suite shares with training rows."""

    suite: str
    items: int
    hit: int
    share: float
    rows: int


@dataclass(frozen=True)
class Mix:
    variant: str
    shared_with: list[str]
    train: int
    heldout: int
    duplicates: int
    near_duplicates: dict[str, int]
    tokens: int | None
    supervised_tokens: int | None
    sources: list[Source]
    contamination: list[Suspect] | None  # None: not looked for


@dataclass(frozen=True)
class Dataset:
    name: str
    rows: int
    train: int
    heldout: int
    bad: int
    dropped: dict[str, int]
    format: str
    license: str


@dataclass(frozen=True)
class Spent:
    """One step that is here. ``started``: Unix seconds."""

    label: str
    stage: str
    seconds: float
    started: float
    size_bytes: int
    notes: list[str]


@dataclass(frozen=True)
class Run:
    started: float
    seconds: float | None
    outcome: str


@dataclass(frozen=True)
class Ledger:
    steps: list[Spent]
    by_stage: dict[str, float]
    seconds: float
    size_bytes: int
    machines: list[str]
    versions: dict[str, list[str]]
    runs: list[Run]


@dataclass(frozen=True)
class Duty:
    licence: str
    of: list[str]
    text: str
    why: str


@dataclass(frozen=True)
class Repo:
    """One repo to be: what it is made of, under which licence, and what that asks."""

    repo: str
    variant: str
    form: str
    license: str
    base: str
    datasets: list[tuple[str, str]]  # name, licence
    teachers: list[str]
    duties: list[Duty]
    here: bool
    refusal: str


@dataclass(frozen=True)
class Missing:
    """A step of the plan that is not in the store. ``word``: failed, blocked, run, not needed."""

    label: str
    stage: str
    variant: str
    word: str
    why: str


@dataclass(frozen=True)
class Summary:
    variants: int
    files: int
    files_here: int
    verdicts: dict[str, int]
    steps: int
    steps_here: int
    shipped: int
    withheld: int


@dataclass(frozen=True)
class Report:
    family: str
    version: str
    description: str
    summary: Summary
    lineage: Lineage
    cells: list[Cell]
    trade_offs: list[TradeOff]
    gates: list[GatePanel]
    suites: list[Suite]
    answers: list[SideBySide]
    trainings: list[Training]
    mixes: list[Mix]
    datasets: list[Dataset]
    ledger: Ledger
    repos: list[Repo]
    missing: list[Missing]
    metrics: dict[str, str] = field(default_factory=dict)  # metric -> what it is
    planned: dict[str, int] = field(default_factory=dict)  # stage -> how many steps the plan has of it
    apply: str = ""  # the command that makes what is missing
