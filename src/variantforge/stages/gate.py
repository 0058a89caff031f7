"""The gate stage: measurements -> verdicts, on the bound of an interval and never on the bare figure.

For every subject that ships (merged weights, each quantized format) all demands of the family that its evaluations can
answer are judged. With ``low`` and ``high`` one-sided 95 % bounds each, from a bootstrap over examples, a demand is

    pass              when the bound on the safe side proves it
    fail              when the bound on the other side proves the opposite
    not enough data   when neither is proven, or fewer than 8 examples were measured

A comparison (``vs``) is judged on the *gain*: by how much the subject is better than the other on the same tokens, the
same examples drawn for both. Only ``pass`` ships: anything else writes a refusal.

    better_by: d           pass: low > d          fail: high <= d
    worse_by_at_most: d    pass: low >= -d        fail: high < -d
    at_least: d            pass: low >= d         fail: high < d
    at_most: d             pass: high <= d        fail: low > d
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from variantforge.errors import EvaluateError
from variantforge.registry import near
from variantforge.spec.family import FamilySpec, GateSpec, VariantSpec
from variantforge.stages.evaluate.metric import BASE, Metric
from variantforge.stages.evaluate.stage import (
    Evaluation,
    evaluation,
    metric_of,
    read_examples,
    split_metric,
    subjects,
)
from variantforge.stages.evaluate.statistics import Interval, NothingToCount, gain, one_sided
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Step, StepContext

LEAST_EXAMPLES = 8  # below it, resampling knows too little of the spread to prove anything
BOUNDS = ("better_by", "worse_by_at_most", "at_most", "at_least")

Outcome = Literal["pass", "fail", "not enough data"]


@dataclass(frozen=True)
class Verdict:
    """What came of one demand. ``value``, ``low`` and ``high`` are the gain when ``vs`` is set, else the metric."""

    metric: str
    vs: str | None
    demand: str
    verdict: Outcome
    value: float
    low: float | None
    high: float | None
    n: int
    why: str


class Gate:
    name = "gate"
    version = 1
    heavy = False
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            _tell_problems(desk)
            return
        for subject in subjects(variant):
            demands, params = desk.once(_demanded_of, desk.folder, subject)
            inputs = _inputs(desk, name, subject, demands)
            if demands and inputs:
                desk.add(Place(self.name, name, subject), Step(self.name, self.version, "bounds", params, inputs))

    def do(self, context: StepContext) -> None:
        verdicts = [_judge(context.inputs, demand) for demand in context.step.params["demands"]]
        facts: dict[str, Any] = {"verdicts": [asdict(verdict) for verdict in verdicts]}
        if refused := [f"{verdict.verdict}: {verdict.why}" for verdict in verdicts if verdict.verdict != "pass"]:
            facts["refusal"] = "\n".join(refused)
        context.write_facts(facts)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


# --- planning ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Demand:
    """One gate on one metric of one subject."""

    evaluation: str
    metric: str
    method: str
    gate: GateSpec

    @property
    def identity(self) -> dict[str, Any]:
        name = f"{self.evaluation}.{self.metric}"
        own = {key: value for key, value in self.gate.identity().items() if key != "on"}  # says where, not what
        return {**own, "metric": name, "evaluator": self.method}


def _evaluations(family: FamilySpec, folder: Path) -> dict[str, Evaluation]:
    asked = {name: evaluation(spec, folder) for name, spec in family.evaluate.items()}
    return {name: one for name, one in asked.items() if one}


def _demanded_of(family: FamilySpec, folder: Path, subject: str) -> tuple[list[Demand], dict[str, Any]]:
    """The demands on a subject, and the parameters of its step."""
    demands = list(_demands(family, _evaluations(family, folder), subject)) if subject != BASE else []
    return demands, {"demands": [demand.identity for demand in demands]}


def _demands(family: FamilySpec, evaluations: Mapping[str, Evaluation], subject: str) -> Iterator[Demand]:
    """The demands that apply to a subject: its evaluations have the metric, and what it is compared with has it too."""
    for gate in family.gates:
        title, wanted = split_metric(gate.metric, evaluations)
        if title in evaluations and gate.vs != subject and (not gate.on or _on(gate.on, subject)):
            for metric in _meant(evaluations[title], wanted, subject, gate.vs):
                yield Demand(title, metric.name, evaluations[title].method, gate)


def _on(patterns: Sequence[str], subject: str) -> bool:
    return any(fnmatchcase(subject, pattern) for pattern in patterns)


def _meant(asked: Evaluation, wanted: str, subject: str, vs: str | None) -> list[Metric]:
    """The metrics named by ``wanted`` (a name or ``*``) that ``subject`` has, and ``vs`` too when it is compared."""
    found = [metric for metric in asked.metrics(subject) if wanted in ("*", metric.name)]
    if vs is None:
        return found
    return [metric for metric in found if metric.better and metric in asked.metrics(vs)]


def _inputs(desk: Desk, variant: str, subject: str, demands: Sequence[Demand]) -> dict[str, str]:
    """Role -> key of the evaluations needed; empty when one is missing (a problem was told elsewhere)."""
    places = {}
    for demand in demands:
        for role, of in (("subject", subject), *([(demand.gate.vs, demand.gate.vs)] if demand.gate.vs else [])):
            places[f"{demand.evaluation}:{role}"] = Place("evaluate", variant, f"{demand.evaluation}:{of}")
    steps = {role: desk.step(place) for role, place in places.items()}
    return {role: step.key for role, step in steps.items() if step} if all(steps.values()) else {}


def _tell_problems(desk: Desk) -> None:
    evaluations = _evaluations(desk.family, desk.folder)
    shipped = sorted({subject for variant in desk.family.variants.values() for subject in subjects(variant)} - {BASE})
    for number, gate in enumerate(desk.family.gates):
        for place, pattern in enumerate(gate.on):
            if not any(_on([pattern], subject) for subject in shipped):
                hint = near(pattern, shipped) or f" There is: {', '.join(shipped)}."
                desk.problem(f"gates[{number}].on[{place}]", f"nothing of this family is called '{pattern}'.{hint}")
        title, wanted = split_metric(gate.metric, evaluations)
        if title in desk.family.evaluate and title not in evaluations:
            continue  # its own problem was told
        if title not in evaluations or wanted not in {"*", *_names(evaluations[title])}:
            desk.problem(f"gates[{number}].metric", _nobody(gate.metric, evaluations))
        elif complaint := _applies_to_none(desk.family, evaluations[title], gate, wanted):
            field, text = complaint
            desk.problem(f"gates[{number}].{field}", text)


def _names(asked: Evaluation) -> list[str]:
    return asked.names()


def _nobody(metric: str, evaluations: Mapping[str, Evaluation]) -> str:
    known = [f"{title}.{name}" for title, asked in evaluations.items() for name in _names(asked)]
    hint = near(metric, known) or (f" Measured: {', '.join(known)}." if known else " Nothing stands under 'evaluate'.")
    return f"nobody measures '{metric}'.{hint}"


def _applies_to_none(family: FamilySpec, asked: Evaluation, gate: GateSpec, wanted: str) -> tuple[str, str] | None:
    """``field, sentence`` when no subject of any variant has what the gate asks for."""
    shipped = {subject for variant in family.variants.values() for subject in subjects(variant)} - {BASE}
    if any(_meant(asked, wanted, subject, gate.vs) for subject in shipped if subject != gate.vs):
        return None
    if gate.vs and any(_meant(asked, wanted, subject, None) for subject in shipped):
        return "vs", f"'{gate.metric}' cannot be compared with {gate.vs} for any file of this family"
    return "metric", f"'{gate.metric}' is measured of no file of this family: see 'quantize' and the evaluation's keys"


# --- judging ----------------------------------------------------------------------------------------------------


def _judge(inputs: Mapping[str, Artifact], demand: Mapping[str, Any]) -> Verdict:
    title, name = split_metric(demand["metric"], {role.rpartition(":")[0] for role in inputs})
    bound = next(one for one in BOUNDS if one in demand)
    subject, vs = inputs[f"{title}:subject"], demand.get("vs")
    metric = metric_of(demand["evaluator"], subject, name)
    try:
        if vs is None:
            other, measured = None, one_sided(metric, read_examples(subject))
        else:
            other = inputs[f"{title}:{vs}"]
            measured = _compared(metric, subject, other, vs)
    except (NothingToCount, KeyError) as error:
        raise EvaluateError(f"{demand['metric']} was not measured", why=str(error)) from error
    outcome = verdict_on(measured, bound, demand[bound])
    wanted = _demand_text(bound, demand[bound])
    why = f"{demand['metric']} {_figures(name, subject, other, vs, measured)}; demanded: {wanted}"
    return Verdict(demand["metric"], vs, wanted, outcome, *measured, why=why)


def verdict_on(measured: Interval, bound: str, figure: float) -> Outcome:
    """``pass``, ``fail`` or ``not enough data``, by the table in this module's docstring."""
    low, high = measured.low, measured.high
    if low is None or high is None or measured.n < LEAST_EXAMPLES:
        return "not enough data"
    proven, refuted = {
        "better_by": (low > figure, high <= figure),
        "worse_by_at_most": (low >= -figure, high < -figure),
        "at_least": (low >= figure, high < figure),
        "at_most": (high <= figure, low > figure),
    }[bound]
    return "pass" if proven else "fail" if refuted else "not enough data"


def _compared(metric: Metric, subject: Artifact, other: Artifact, vs: str) -> Interval:
    """The gain over ``other``. Raises EvaluateError when not the same tokens were measured."""
    ours, theirs = subject.facts.get("tokens_sha256"), other.facts.get("tokens_sha256")
    try:
        if ours != theirs:
            raise ValueError(f"the token digests are {ours} and {theirs}")
        return gain(metric, read_examples(subject), read_examples(other))
    except NothingToCount:
        raise
    except ValueError as error:
        raise EvaluateError(
            f"{metric.name} cannot be compared with {vs}: other tokens were measured",
            why=f"{str(error)[:1].upper()}{str(error)[1:]}. A tokenizer or chat template was changed on the way.",
            next="make sure that the model's tokenizer is the base's, then run again",
        ) from error


def _figures(name: str, subject: Artifact, other: Artifact | None, vs: str | None, measured: Interval) -> str:
    """``1.213 is 0.31 better than base's 1.523 (95 % bounds 0.24 to 0.38, 57 examples)``"""
    value = subject.facts["metrics"][name]["value"]
    if measured.low is None or measured.high is None:
        sure = f"{measured.n} example, no interval"
    else:
        sure = f"95 % bounds {_short(measured.low)} to {_short(measured.high)}, {measured.n} examples"
    if other is None:
        return f"is {_short(value)} ({sure})"
    way = "better" if measured.value >= 0 else "worse"
    theirs = other.facts["metrics"][name]["value"]
    return f"{_short(value)} is {_short(abs(measured.value))} {way} than {vs}'s {_short(theirs)} ({sure})"


def _demand_text(bound: str, figure: float) -> str:
    words = "better by more than" if bound == "better_by" else bound.replace("_", " ")
    return f"{words} {figure:g}"


def _short(value: float) -> str:
    return f"{value:.4g}"


STAGE = Gate()
