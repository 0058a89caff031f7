"""The demands of a family on one file: which gates apply to it, and with which figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from variantforge.spec.family import FamilySpec, GateSpec
from variantforge.spec.gates import names
from variantforge.stages.evaluate.clean import twins
from variantforge.stages.evaluate.evaluation import Evaluation, evaluation, split_metric
from variantforge.stages.evaluate.metric import BASE, CLEAN, CLEAN_SUFFIX, Metric

PREVIOUS = "previous"


@dataclass(frozen=True)
class Demand:
    """One gate on one metric of one subject. ``number``: the gate's place in the file. ``clean``: the metric is without
    the items that training data hold."""

    evaluation: str
    metric: Metric
    method: str
    gate: GateSpec
    figure: float
    number: int
    clean: bool = False

    @property
    def name(self) -> str:
        return f"{self.evaluation}.{self.metric.name}"

    @property
    def identity(self) -> dict[str, Any]:
        """What enters the key: the figure of this very subject, so that another format's may change."""
        own = {key: value for key, value in self.gate.identity().items() if key not in ("on", self.gate.bound)}
        named = {"metric": self.name, "evaluator": self.method, **({CLEAN: True} if self.clean else {})}
        return {**own, self.gate.bound: self.figure, **named}


def evaluations_of(family: FamilySpec, folder: Path) -> dict[str, Evaluation]:
    asked = {name: evaluation(spec, folder) for name, spec in family.evaluate.items()}
    return {name: one for name, one in asked.items() if one}


def demanded_of(family: FamilySpec, folder: Path, subject: str) -> tuple[list[Demand], dict[str, Any]]:
    """The demands on a subject, and the parameters of its step."""
    demands = list(_demands(family, evaluations_of(family, folder), subject)) if subject != BASE else []
    return demands, {"demands": [demand.identity for demand in demands]}


def _demands(family: FamilySpec, evaluations: Mapping[str, Evaluation], subject: str) -> Iterator[Demand]:
    """The demands that apply to a subject: its evaluations have the metric, and what it is compared with has it too."""
    for number, gate in enumerate(family.gates):
        title, wanted = split_metric(gate.metric, evaluations)
        figure = gate.figure(subject)
        if title in evaluations and figure is not None and gate.vs != subject and applies(gate, subject):
            asked = evaluations[title]
            clean = twins(asked, subject) if asks_for_clean(wanted) else ()
            for metric in meant(asked, wanted, subject, gate.vs):
                yield Demand(title, metric, asked.method, gate, figure, number, metric in clean)


def applies(gate: GateSpec, subject: str) -> bool:
    return not gate.on or any(names(pattern, subject) for pattern in gate.on)


def meant(asked: Evaluation, wanted: str, subject: str, vs: str | None) -> list[Metric]:
    """The metrics named by ``wanted`` (a name or a wildcard) that ``subject`` has, and ``vs`` too when compared."""
    found = [metric for metric in _known(asked, wanted, subject) if fnmatchcase(metric.name, wanted)]
    if vs is None:
        return found
    there = _known(asked, wanted, subject if vs == PREVIOUS else vs)
    return [metric for metric in found if metric.better and metric in there]


def asks_for_clean(wanted: str) -> bool:
    """A wildcard means metrics without the items that the training data hold only when it ends as their names do."""
    return wanted.endswith(CLEAN_SUFFIX)


def _known(asked: Evaluation, wanted: str, subject: str) -> tuple[Metric, ...]:
    return asked.metrics(subject) + (twins(asked, subject) if asks_for_clean(wanted) else ())
