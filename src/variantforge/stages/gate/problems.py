"""Gates that ask for what nobody measures, or for files that the family does not make: told with what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from variantforge.registry import near
from variantforge.spec.family import FamilySpec, GateSpec
from variantforge.spec.gates import names
from variantforge.stages.evaluate.clean import twins
from variantforge.stages.evaluate.evaluation import Evaluation, split_metric
from variantforge.stages.evaluate.metric import BASE, MERGED, subjects
from variantforge.stages.gate.demands import PREVIOUS, applies, asks_for_clean, evaluations_of, meant
from variantforge.stages.stage import Desk


def tell_problems(desk: Desk) -> None:
    evaluations = evaluations_of(desk.family, desk.folder)
    shipped = _shipped(desk.family)
    for number, gate in enumerate(desk.family.gates):
        for field, text in _of_patterns(gate, shipped):
            desk.problem(f"gates[{number}].{field}", text)
        title, wanted = split_metric(gate.metric, evaluations)
        if title in desk.family.evaluate and not (title in evaluations and evaluations[title].names()):
            continue  # its own problem was told
        if title not in evaluations or not _is_measured(evaluations[title], wanted):
            desk.problem(f"gates[{number}].metric", _nobody(gate.metric, evaluations))
        elif _only_clean(evaluations[title], wanted) and not desk.family.data_policy.decontaminate:
            desk.problem(f"gates[{number}].metric", _nothing_looked_for(gate.metric))
        elif complaint := _applies_to_none(evaluations[title], gate, wanted, shipped):
            field, text = complaint
            desk.problem(f"gates[{number}].{field}", text)


def _shipped(family: FamilySpec) -> list[str]:
    return sorted({subject for variant in family.variants.values() for subject in subjects(variant)} - {BASE})


def _of_patterns(gate: GateSpec, shipped: list[str]) -> Iterator[tuple[str, str]]:
    """``field, sentence`` of every pattern that names no file of the family. A ``*`` alone is for what is left over."""
    places = [(f"on[{place}]", pattern) for place, pattern in enumerate(gate.on)]
    places += [(f"{gate.bound}.{pattern}", pattern) for pattern in gate.figures if pattern != "*"]
    known = sorted({*shipped, *(subject.partition(":")[2] or subject for subject in shipped)})
    for field, pattern in places:
        if not any(names(pattern, subject) for subject in shipped):
            hint = near(pattern, shipped) or near(pattern, known) or f" There is: {', '.join(shipped)}."
            yield field, f"nothing of this family is called '{pattern}'.{hint}"


def _is_measured(asked: Evaluation, wanted: str) -> bool:
    names = [*asked.names(), *(metric.name for metric in (twins(asked, MERGED) if asks_for_clean(wanted) else ()))]
    return any(fnmatchcase(name, wanted) for name in names)


def _only_clean(asked: Evaluation, wanted: str) -> bool:
    return asks_for_clean(wanted) and not any(fnmatchcase(name, wanted) for name in asked.names())


def _nothing_looked_for(metric: str) -> str:
    return (
        f"'{metric}' leaves out what decontamination finds in the training data, and nothing is looked for: "
        "write data_policy: {decontaminate: {}}"
    )


def _nobody(metric: str, evaluations: Mapping[str, Evaluation]) -> str:
    known = [f"{title}.{name}" for title, asked in evaluations.items() for name in asked.names()]
    hint = near(metric, known) or (f" Measured: {', '.join(known)}." if known else " Nothing stands under 'evaluate'.")
    return f"nobody measures '{metric}'.{hint}"


def _applies_to_none(asked: Evaluation, gate: GateSpec, wanted: str, shipped: list[str]) -> tuple[str, str] | None:
    """``field, sentence`` when no subject of any variant has what the gate asks for, or none that it is for."""
    measured = [subject for subject in shipped if subject != gate.vs and meant(asked, wanted, subject, gate.vs)]
    named = [subject for subject in measured if applies(gate, subject)]
    if any(gate.figure(subject) is not None for subject in named):
        return None
    if measured:
        field = gate.bound if named else "on"
        return field, f"'{gate.metric}' is of {', '.join(named or measured)}, and none of these is named here"
    if gate.vs and any(meant(asked, wanted, subject, None) for subject in shipped):
        other = "the previous release" if gate.vs == PREVIOUS else gate.vs
        return "vs", f"'{gate.metric}' cannot be compared with {other} for any file of this family"
    return "metric", f"'{gate.metric}' is measured of no file of this family: see 'quantize' and the evaluation's keys"
