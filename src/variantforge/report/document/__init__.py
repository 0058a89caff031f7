"""The form of what a report says: frozen data without a word of HTML, the same for ``--json`` and for the page.

None and '' mean that an artifact does not tell; nothing here is guessed. Values are those of facts and manifests.

measured    what is known of every file
made        how the files were made
"""

from __future__ import annotations

from dataclasses import dataclass, field

from variantforge.report.document.made import (
    Curve,
    Dataset,
    Edge,
    Ledger,
    Lineage,
    Mix,
    Node,
    Run,
    Source,
    Spent,
    Suspect,
    Training,
)
from variantforge.report.document.measured import (
    Answer,
    Asked,
    Cell,
    Estimate,
    GatePanel,
    GateRow,
    Measurement,
    Point,
    SideBySide,
    Suite,
    TradeOff,
)

__all__ = [
    "Answer",
    "Asked",
    "Cell",
    "Curve",
    "Dataset",
    "Duty",
    "Edge",
    "Estimate",
    "GatePanel",
    "GateRow",
    "Ledger",
    "Lineage",
    "Measurement",
    "Missing",
    "Mix",
    "Node",
    "Point",
    "Repo",
    "Report",
    "Run",
    "SideBySide",
    "Source",
    "Spent",
    "Suite",
    "Summary",
    "Suspect",
    "TradeOff",
    "Training",
]


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
    """A step of the plan that is not in the store. ``word``: failed, blocked, damaged, not made, not needed."""

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
