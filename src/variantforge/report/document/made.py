"""How the files were made: what of what, from which rows, how training went, and what it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
