"""What was measured: gains over base and merged weights, and what quality costs in bytes and speed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from variantforge.report.cells import estimate, evaluations
from variantforge.report.document import Cell, Estimate, Measurement, Point, Suite, TradeOff
from variantforge.report.shelf import Shelf
from variantforge.spec.family import FamilySpec
from variantforge.stages.card.facts import BUSY
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.evaluate.metric import BASE, CLEAN, LEFT_OUT, MERGED, subjects
from variantforge.stages.evaluate.statistics import NothingToCount, gain
from variantforge.step import Artifact

SPEED, RATE = "speed", "tokens_per_s"  # the evaluator whose metrics are no quality, and the one that is drawn
SIZE = "size_bytes"
TOLD = ("examples", "tokens", "shortened", "whole_tasks")  # facts of an evaluation that a reader wants


def suites(shelf: Shelf, family: FamilySpec) -> list[Suite]:
    """One per evaluation and variant that measured anything, in the order of the family file."""
    found = [_suite(shelf, family, title, name) for name in family.variants for title in family.evaluate]
    return [suite for suite in found if suite.rows]


def _suite(shelf: Shelf, family: FamilySpec, title: str, variant: str) -> Suite:
    made = {
        subject: artifact
        for subject in subjects(family.variants[variant])
        if (artifact := shelf.artifact("evaluate", variant, f"{title}:{subject}"))
    }
    said = _said(shelf, variant)
    views = {subject: shelf.artifact("evaluate", variant, f"{title}:{subject} {CLEAN}") for subject in made}
    clean = {subject: view for subject, view in views.items() if view}
    rows = [
        Measurement(
            f"{title}.{metric}",
            subject,
            it.get("better"),
            estimate(it),
            _gains(shelf, subject, among, metric) | said.get((f"{title}.{metric}", subject), {}),
        )
        for among in (made, clean)
        for subject, artifact in among.items()
        for metric, it in (shelf.facts(artifact) or {}).get("metrics", {}).items()
    ]
    order = _order(shelf, title, made)
    rows.sort(key=lambda row: order.get(row.metric, len(order)))
    facts = (shelf.facts(next(iter(made.values()))) or {}) if made else {}
    told = {name: facts[name] for name in TOLD if name in facts}
    for artifact in list(clean.values())[:1]:  # the same of all subjects
        told["left_out_as_trained_on"] = sum((shelf.facts(artifact) or {})[LEFT_OUT].values())
    return Suite(title, family.evaluate[title].evaluator, variant, rows, told, _machines(shelf, made.values()))


def _machines(shelf: Shelf, made: Iterable[Artifact]) -> list[str]:
    """The machines that facts of evaluations name (those of speed do), each with the runtimes measured there."""
    found: dict[str, set[str]] = {}
    busy: set[str] = set()
    for facts in (shelf.facts(artifact) or {} for artifact in made):
        if here := facts.get("machine"):
            where = f"{here.get('accelerator') or here.get('processor')}, {here.get('cores')} cores"
            found.setdefault(where, set()).add(str(facts.get("runtime", "")))
            busy |= {where} if "busy" in facts else set()
    lines = {where: f"{where}; {' and '.join(sorted(filter(None, by)))}" for where, by in sorted(found.items())}
    return [line + (BUSY if where in busy else "") for where, line in lines.items()]


def _order(shelf: Shelf, title: str, made: Mapping[str, Artifact]) -> dict[str, int]:
    """``evaluation.metric`` -> its place: as the evaluator names them, the most important first."""
    methods = {shelf.plan.steps[artifact.key].method for artifact in made.values()}
    names = [metric.name for method in methods for metric in EVALUATORS.load(method).METRICS]
    return {f"{title}.{name}": place for place, name in enumerate(names)}


def _gains(shelf: Shelf, subject: str, made: Mapping[str, Artifact], metric: str) -> dict[str, Estimate]:
    """Over base and merged weights, where both were measured on the same examples."""
    found = {}
    for other in (BASE, MERGED):
        if other not in made or subject in (BASE, other):
            continue
        if over := paired(shelf, metric, made[subject], made[other]):
            found[other] = over
    return found


def paired(shelf: Shelf, name: str, artifact: Artifact, other: Artifact) -> Estimate | None:
    """The gain in a metric over ``other`` on the same examples; None when there is no such thing."""
    metric = shelf.metric(artifact, name)
    ours, theirs = shelf.facts(artifact) or {}, shelf.facts(other) or {}
    if metric is None or metric.better is None or name not in theirs.get("metrics", {}):
        return None
    if ours.get("tokens_sha256") != theirs.get("tokens_sha256"):
        return None
    try:
        return Estimate(*gain(metric, shelf.examples(artifact), shelf.examples(other)))
    except (NothingToCount, ValueError, KeyError):
        return None  # other examples, or a column that one of them lacks: nothing to compare


def _said(shelf: Shelf, variant: str) -> dict[tuple[str, str], dict[str, Estimate]]:
    """Gains that gates worked out: ``(metric, subject)`` -> over what -> gain. The only ones over earlier releases."""
    found: dict[tuple[str, str], dict[str, Estimate]] = {}
    for place in shelf.of_variant(variant, "gate"):
        artifact = shelf.artifact(*place)
        for verdict in (shelf.facts(artifact) or {}).get("verdicts", []) if artifact else []:
            if verdict.get("vs") and verdict.get("value") is not None:
                found.setdefault((verdict["metric"], place.name), {})[verdict["vs"]] = estimate(verdict)
    return found


# --- trade-offs -----------------------------------------------------------------------------------------------------


def trade_offs(shelf: Shelf, family: FamilySpec, cells: Sequence[Cell]) -> list[TradeOff]:
    """Of each variant, its leading metric of each evaluation against size, and against each metric of speed."""
    return [
        trade
        for variant in family.variants
        for metric, better in _leading(shelf, family, variant)
        for against, way in ((SIZE, "lower"), *_speeds(shelf, family, variant))
        if len((trade := _trade(cells, variant, metric, better, against, way)).points) > 1
    ]


def _leading(shelf: Shelf, family: FamilySpec, variant: str) -> Iterator[tuple[str, str]]:
    """The first metric of each evaluation that a gate asks about, else the first that has a good side."""
    asked = [gate.metric for gate in family.gates]
    for title, spec in family.evaluate.items():
        if spec.evaluator == SPEED:
            continue
        ways = _ways(shelf, variant, title)
        named = [metric for metric in asked if metric in ways]
        if first := next(iter([*named, *ways]), None):
            yield first, ways[first]


def _speeds(shelf: Shelf, family: FamilySpec, variant: str) -> list[tuple[str, str]]:
    """How fast the files write, where that was measured."""
    titles = [title for title, spec in family.evaluate.items() if spec.evaluator == SPEED]
    ways = [(metric, way) for title in titles for metric, way in _ways(shelf, variant, title).items()]
    return [(metric, way) for metric, way in ways if metric.endswith(f".{RATE}")]


def _ways(shelf: Shelf, variant: str, title: str) -> dict[str, str]:
    """``evaluation.metric`` -> which way is better, of all that the files of a variant have; leading ones first."""
    found: dict[str, str] = {}
    made: dict[str, Artifact] = {}
    for place in evaluations(shelf, variant):
        artifact = shelf.artifact(*place) if place.name.partition(":")[0] == title else None
        for metric, it in ((shelf.facts(artifact) or {}).get("metrics", {}) if artifact else {}).items():
            if it.get("better"):
                found.setdefault(f"{title}.{metric}", it["better"])
        made |= {place.name: artifact} if artifact else {}
    order = _order(shelf, title, made)
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def _trade(cells: Sequence[Cell], variant: str, metric: str, better: str, against: str, way: str) -> TradeOff:
    at = {
        cell.subject: (float(x), cell.metrics[metric])
        for cell in cells
        if cell.variant == variant and metric in cell.metrics and (x := _x(cell, against)) is not None
    }
    signs = (1 if way == "lower" else -1), (1 if better == "lower" else -1)
    costs = {subject: (signs[0] * x, signs[1] * y.value) for subject, (x, y) in at.items()}
    best = {subject for subject, cost in costs.items() if not any(_beats(other, cost) for other in costs.values())}
    points = [Point(subject, x, y, subject in best) for subject, (x, y) in at.items()]
    return TradeOff(variant, metric, better, against, way, points)


def _x(cell: Cell, against: str) -> float | None:
    if against == SIZE:
        return cell.size_bytes
    return cell.metrics[against].value if against in cell.metrics else None


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]
