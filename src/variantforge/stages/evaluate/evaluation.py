"""An entry under ``evaluate`` in a family file as the rest of the program knows it: its evaluator and its metrics."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from variantforge.spec.family import EvaluatorSpec, Section
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.evaluate.metric import MERGED, Metric
from variantforge.stages.evaluate.suites import HasJudge, HasPins, HasTasks
from variantforge.step import Artifact, StepContext


@dataclass(frozen=True)
class Measured:
    """What an evaluator hands back: one row per example (``id`` and the columns its metrics sum), and further facts.

    ``metrics``: what was measured, where the evaluator's ``METRICS`` do not say it.
    """

    examples: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()


class Evaluator(Protocol):
    """One way to measure a subject. ``Params`` is what a user may write beside ``evaluator:``; it forbids the rest.

    ``METRICS`` is known without importing torch. ``heavy`` evaluators import it when they measure. One that reads
    files of the user's also has ``pins`` (see ``HasPins``), one that asks a fixed suite ``suite_texts``, one whose
    metrics stand in such files ``metrics_in`` (see ``HasTasks``), one that asks another model ``judge``. One that runs
    what a subject wrote says ``sandboxed = True``: a run is refused before its first step where there is no sandbox.
    """

    Params: type[Section]
    METRICS: tuple[Metric, ...]
    heavy: bool

    def metrics(self, params: Any, subject: str) -> tuple[Metric, ...]:
        """Those of ``METRICS`` that are measured of ``subject`` with these parameters; () when it is not measured."""

    def needs(self, params: Any, subject: str) -> tuple[str, ...]:
        """Which of ``ROLES`` the measurement of ``subject`` takes in beside ``model``: they enter the step's key."""

    def identity(self, params: Any, subject: str) -> dict[str, Any]:
        """The parameters that change what comes out for ``subject``: they enter the step's key."""

    def evaluate(self, context: StepContext) -> Measured:
        """Measures ``inputs["model"]`` beside the inputs that it needs.

        Raises EvaluateError when it cannot; it never hands back a made-up figure.
        """


@dataclass(frozen=True)
class Evaluation:
    """An entry under ``evaluate`` in a family file, with its parameters checked; ``folder`` is that of the file."""

    method: str
    evaluator: Evaluator
    params: Section
    folder: Path = Path()

    def metrics(self, subject: str) -> tuple[Metric, ...]:
        """All metrics of ``subject``: the one place that knows them while planning."""
        if isinstance(self.evaluator, HasTasks):
            return self.evaluator.metrics_in(self.params, subject, self.folder)
        return self.evaluator.metrics(self.params, subject)

    def names(self) -> list[str]:
        """Names of the metrics that some subject may have."""
        found = {} if isinstance(self.evaluator, HasTasks) else {one.name: None for one in self.evaluator.METRICS}
        return list(found or {one.name: None for one in self.metrics(MERGED)})

    @cached_property
    def pinning(self) -> HasPins | None:
        """The evaluator, if it reads files. Asked once: for each of a thousand variants, the question would add up."""
        return self.evaluator if isinstance(self.evaluator, HasPins) else None

    @cached_property
    def judging(self) -> HasJudge | None:
        """The evaluator, if it asks another model about answers."""
        return self.evaluator if isinstance(self.evaluator, HasJudge) else None

    def needs(self, subject: str) -> tuple[str, ...]:
        return self.evaluator.needs(self.params, subject)

    def identity(self, subject: str) -> dict[str, Any]:
        return self.evaluator.identity(self.params, subject)


def evaluation(spec: EvaluatorSpec, folder: Path = Path()) -> Evaluation | None:
    """The evaluation that a spec asks for; None when the evaluator is unknown or its parameters are wrong.

    ``folder``: where the family file lies; relative paths in ``spec`` start there.
    """
    if spec.evaluator not in EVALUATORS:
        return None
    evaluator = EVALUATORS.load(spec.evaluator)()
    try:
        return Evaluation(spec.evaluator, evaluator, evaluator.Params(**spec.params), folder)
    except ValidationError:
        return None


def metric_of(method: str, measured: Artifact, name: str) -> Metric:
    """The metric of that name of what ``method`` measured: from the artifact where it says, else from ``METRICS``."""
    columns = measured.facts.get("columns", {})
    if name in columns:
        return Metric(name, **columns[name])
    return next(one for one in EVALUATORS.load(method).METRICS if one.name == name)


def split_metric(text: str, titles: Collection[str]) -> tuple[str, str]:
    """``general.gsm8k.acc`` -> ``general``, ``gsm8k.acc``, by the longest of ``titles``; both parts may hold dots."""
    title = max((title for title in titles if text.startswith(f"{title}.")), key=len, default="")
    return (title, text[len(title) + 1 :]) if title else (text.rpartition(".")[0], text.rpartition(".")[2])
