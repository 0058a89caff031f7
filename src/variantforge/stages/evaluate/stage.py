"""The evaluate stage: lays out one step per evaluation and subject, and writes what an evaluator measured.

Subjects of a variant are its base, its merged weights, and each quantized format. ``examples.jsonl`` keeps what was
measured of every example, in the order of the data; ``metrics.json`` and the facts are worked out from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from variantforge.errors import EvaluateError, VariantforgeError
from variantforge.fsops import write_json, write_text
from variantforge.registry import near
from variantforge.spec.complaints import sentence_of
from variantforge.spec.family import FamilySpec, Section, VariantSpec
from variantforge.spec.places import spell_path
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.evaluate.again import in_other_batches
from variantforge.stages.evaluate.clean import plan_clean, view_of
from variantforge.stages.evaluate.evaluation import Evaluation, Evaluator, Measured, evaluation
from variantforge.stages.evaluate.judges.planning import Appointed, appoint
from variantforge.stages.evaluate.metric import BASE, CLEAN, EXAMPLES_FILE, MERGED, Metric, subjects
from variantforge.stages.evaluate.statistics import NothingToCount, interval
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Pin, Step, StepContext

ROLES = {  # what an evaluator may need beside the subject: stage and name of the place in its variant
    "data": ("data", "mix"),
    "reference": ("merge", ""),
    "adapter": ("train", ""),
    "base": ("base", ""),
}
METRICS_FILE = "metrics.json"


class Evaluate:
    name = "evaluate"
    version = 1
    heavy = True
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            _tell_problems(desk)
            return
        for title in desk.family.evaluate:
            asked = desk.once(_evaluation, title, desk.folder)
            pins, judge = _pins(desk, title, asked), _judge(desk, title, asked)
            if asked is None or pins is None or judge is None:
                continue
            judged_by = {role: step.key for role, step in judge.inputs.items()}
            for subject in subjects(variant):
                method, identity, needs = desk.once(_asked_of, title, subject)
                inputs = _inputs(desk, name, subject, needs)
                measured = desk.once(_is_measured, title, desk.folder, subject)
                if inputs and measured:
                    inputs |= judged_by
                    step = Step(self.name, self.version, method, identity, inputs, {**pins, **judge.pins}, judge.hints)
                    desk.add(Place(self.name, name, f"{title}:{subject}"), step)
                    plan_clean(desk, name, title, subject, step, asked)

    def do(self, context: StepContext) -> None:
        if CLEAN in context.step.params:
            _write(context, view_of(context.step, context.inputs))
            return
        evaluator = EVALUATORS.load(context.step.method)()
        with in_other_batches(context) as asked:
            measured = _measure(evaluator, asked)
        _write(context, measured, evaluator.METRICS)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


def _write(context: StepContext, measured: Measured, usual: Sequence[Metric] = ()) -> None:
    """``usual``: what is summed where ``measured`` does not say it."""
    try:
        metrics = dict(_metrics(measured.metrics or usual, measured.examples))
    except NothingToCount as error:
        raise EvaluateError("nothing could be counted", why=str(error)) from error
    write_text(context.out / EXAMPLES_FILE, "".join(_line(row) for row in measured.examples))
    write_json(context.out / METRICS_FILE, metrics)
    columns = {one.name: _columns(one) for one in measured.metrics}
    facts = {**measured.facts, **({"columns": columns} if columns else {})}
    context.write_facts({"metrics": metrics, "examples": len(measured.examples), **facts})


def _columns(metric: Metric) -> dict[str, Any]:
    return {name: value for name, value in asdict(metric).items() if name not in ("name", "on")}


def _evaluation(family: FamilySpec, title: str, folder: Path) -> Evaluation | None:
    return evaluation(family.evaluate[title], folder)


def _is_measured(family: FamilySpec, title: str, folder: Path, subject: str) -> bool:
    asked = _evaluation(family, title, folder)
    return asked is not None and bool(asked.metrics(subject))


def _pins(desk: Desk, title: str, asked: Evaluation | None) -> Mapping[str, Pin] | None:
    """Files that the evaluation reads; None when one is not there, which is told."""
    if asked is None or asked.pinning is None:
        return {}
    return asked.pinning.pins(desk, asked.params, f"evaluate.{title}")


def _judge(desk: Desk, title: str, asked: Evaluation | None) -> Appointed | None:
    """The model that is asked about answers; None after a problem."""
    if asked is None or asked.judging is None:
        return Appointed()
    return appoint(desk, asked.judging.judge(asked.params), title)


def _asked_of(family: FamilySpec, title: str, subject: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """The method, parameters and needs of a step of an evaluation that can be done."""
    asked = evaluation(family.evaluate[title])
    assert asked is not None
    return asked.method, asked.identity(subject), asked.needs(subject)


def _inputs(desk: Desk, variant: str, subject: str, needs: Sequence[str]) -> dict[str, str]:
    """Keys of what a measurement of ``subject`` takes in; empty when an earlier stage has told a problem with it."""
    subject_at = {BASE: Place("base", variant), MERGED: Place("merge", variant)}
    places = {"model": subject_at.get(subject, Place("quantize", variant, subject))}
    places |= {role: Place(stage, variant, name) for role, (stage, name) in ROLES.items() if role in needs}
    steps = {role: desk.step(place) for role, place in places.items()}
    return {role: step.key for role, step in steps.items() if step} if all(steps.values()) else {}


def _tell_problems(desk: Desk) -> None:
    for title, spec in desk.family.evaluate.items():
        if spec.evaluator not in EVALUATORS:
            desk.problem(f"evaluate.{title}.evaluator", EVALUATORS.unknown(spec.evaluator))
            continue
        form = EVALUATORS.load(spec.evaluator).Params
        try:
            form(**spec.params)
        except ValidationError as error:
            for key, text in _told(error, form):
                desk.problem(f"evaluate.{title}.{key}".rstrip("."), text)


def _told(error: ValidationError, form: type[Section]) -> Iterator[tuple[str, str]]:
    """pydantic's complaints as ``key, sentence``. A key that is missing beside an unknown one is not told: it is meant
    there."""
    details = error.errors(include_url=False)
    strange = {detail["loc"][:-1] for detail in details if detail["type"] == "extra_forbidden"}
    for detail in details:
        key, last = spell_path(detail["loc"]), str(detail["loc"][-1] if detail["loc"] else "")
        fields = _section(form, detail).model_fields
        if detail["type"] == "extra_forbidden":
            yield key, f"unknown key.{near(last, list(fields)) or ' Known: ' + ', '.join(fields) + '.'}"
        elif detail["type"] != "missing":
            yield key, sentence_of(detail)
        elif detail["loc"][:-1] not in strange:
            yield key, f"missing: {fields[last].description}"


def _section(form: type[Section], detail: Any) -> type[Section]:
    """The section that a complaint is about: ``judge.modle`` is about that of ``judge``."""
    for part in detail["loc"][:-1]:
        annotation = form.model_fields[str(part)].annotation
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        form = next((kind for kind in kinds if issubclass(kind, Section)), form)
    return form


def _measure(evaluator: Evaluator, context: StepContext) -> Measured:
    """A crash of any kind is a failed step that says so."""
    try:
        return evaluator.evaluate(context)
    except VariantforgeError:
        raise
    except Exception as error:
        raise EvaluateError(
            f"measuring with '{context.step.method}' broke off: {type(error).__name__}",
            why=str(error),
            next="nothing was scored; if memory ran out, lower max_length, else report this with the command you typed",
        ) from error


def _metrics(metrics: Sequence[Metric], examples: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """``name, {value, low, high, n, better}`` of each metric whose column was measured."""
    for metric in metrics:
        if any(metric.total in row for row in examples):
            yield metric.name, {**interval(metric, examples)._asdict(), "better": metric.better}


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


STAGE = Evaluate()
