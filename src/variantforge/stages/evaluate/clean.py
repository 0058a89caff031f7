"""Figures without the items that stand in the training data: another view of what was measured, no second measurement.

A mix that is decontaminated tells which items of which suite some row of its datasets holds. Here they are left out of
what an evaluation measured, whether those rows were dropped or not: who held an item word for word may hold it in other
words too, and those are not found. Each metric gets a twin, ``pass@1_clean``, over the items that are left, for every
subject of the variant alike, so that the twins can be compared in pairs. It is a step of its own, which takes in the
measurement: other data change it in no time, and nothing is measured anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from variantforge.errors import EvaluateError
from variantforge.spec.family import FamilySpec
from variantforge.stages.evaluate.evaluation import Evaluation, Measured, evaluation, metric_of
from variantforge.stages.evaluate.metric import CLEAN, CLEAN_SUFFIX, LEFT_OUT, Metric, read_examples
from variantforge.stages.evaluate.suites import HasNamedItems, Named
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Step

MEASURED, MIX = "measured", "mix "  # roles of its inputs; the second with a number: 0 for the variant's own data
REPORT = "contamination.json"  # of a mix; ``stages/data/across.py`` writes it
_KEPT = ("id", "source", "cluster", "task")  # of an example, beside its figures


def twin(metric: Metric) -> Metric:
    """The same sums over fewer examples."""
    return replace(metric, name=f"{metric.name}{CLEAN_SUFFIX}")


def twins(asked: Evaluation, subject: str) -> tuple[Metric, ...]:
    """Metrics of ``subject`` without the items that the training data hold; () for most evaluators."""
    if not isinstance(asked.evaluator, HasNamedItems) or not _suites(asked):
        return ()
    taken = {metric.name for metric in asked.metrics(subject)}  # a task may be called so, too
    found = (twin(one) for one in asked.evaluator.named_metrics(asked.params, subject, asked.folder) if one.better)
    return tuple(one for one in found if one.name not in taken)


def _suites(asked: Evaluation) -> Mapping[str, Named]:
    assert isinstance(asked.evaluator, HasNamedItems)
    return asked.evaluator.named_suites(asked.params, asked.folder)


def place_of_clean(variant: str, title: str, subject: str) -> Place:
    return Place("evaluate", variant, f"{title}:{subject} {CLEAN}")


def plan_clean(desk: Desk, variant: str, title: str, subject: str, measured: Step, asked: Evaluation) -> None:
    """Lays out the view of a measurement where the variant's data are decontaminated, and it has items with names."""
    mixes = _mixes(desk, variant)
    if mixes and (found := desk.once(_params_of, title, asked.folder, subject)):
        inputs = {MEASURED: measured.key, **{f"{MIX}{number}": mix.key for number, mix in enumerate(mixes)}}
        step = Step(measured.stage, measured.version, measured.method, {CLEAN: found}, inputs)
        desk.add(place_of_clean(variant, title, subject), step)


def _params_of(family: FamilySpec, title: str, folder: Path, subject: str) -> dict[str, Any]:
    asked = evaluation(family.evaluate[title], folder)
    metrics = twins(asked, subject) if asked else ()
    if asked is None or not metrics:
        return {}
    suites = {source: list(named) for source, named in sorted(_suites(asked).items())}
    return {"metrics": [metric.name.removesuffix(CLEAN_SUFFIX) for metric in metrics], "suites": suites}


def _mixes(desk: Desk, variant: str | None) -> list[Step]:
    """The decontaminated data of a variant, and of those whose weights it started from."""
    found = []
    while variant is not None:
        step = desk.step(Place("data", variant, "mix"))
        if step and "decontaminate" in step.params:
            found.append(step)
        variant = desk.family.variants[variant].from_
    return found


# --- doing ------------------------------------------------------------------------------------------------------------


def view_of(step: Step, inputs: Mapping[str, Artifact]) -> Measured:
    """What ``step`` shows of its measurement: examples that are left with their figures, the others with nothing but
    their id. Facts: ``left_out``, how many those are, by suite.

    Raises EvaluateError where an example does not say which item it is.
    """
    told, measured = step.params[CLEAN], inputs[MEASURED]
    hit = {one for role, mix in inputs.items() if role.startswith(MIX) for one in hit_items(mix)}
    suites = {source: Named(*named) for source, named in told["suites"].items()}
    rows, left = list[dict[str, Any]](), Counter[str]()
    for row in read_examples(measured):
        named = suites.get(str(row.get("task") or row.get("source") or ""))
        is_hit = named is not None and (named.suite, _item(row, named, measured)) in hit
        rows.append({"id": row["id"], LEFT_OUT: True} if is_hit else dict(_figures(row)))
        if named:
            left[named.suite] += is_hit
    plain = (metric_of(step.method, measured, name) for name in told["metrics"] if name in measured.facts["metrics"])
    facts = {LEFT_OUT: dict(left), "examples": len(rows) - left.total()}
    kept = {name: measured.facts[name] for name in ("tokens_sha256",) if name in measured.facts}
    return Measured(rows, facts | kept, tuple(map(twin, plain)))


def hit_items(mix: Artifact) -> Iterator[tuple[str, str]]:
    """Suite and name of the items that rows of a mix hold."""
    report = json.loads((mix.path / REPORT).read_bytes())
    return ((one["suite"], one["item"]) for one in report["items"])


def without(rows: Iterable[dict[str, Any]], view: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Examples of another measurement with those bared that a view leaves out."""
    left = {row["id"] for row in view if row.get(LEFT_OUT)}
    return [{"id": row["id"], LEFT_OUT: True} if row["id"] in left else row for row in rows]


def _item(row: Mapping[str, Any], named: Named, measured: Artifact) -> str:
    if named.column not in row:
        raise EvaluateError(
            f"example {row['id']} does not say which item of {named.suite} it is",
            why="An earlier version measured it. Whether the training data hold it cannot be told.",
            next=f"rm -r {measured.path}   # the next apply measures it again",
        )
    return str(row[named.column])


def _figures(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if name in _KEPT or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield name, value
