"""The gate stage: measurements -> verdicts, on the bound of an interval and never on the bare figure.

For every subject that ships (merged weights, each quantized format) all demands of the family that its evaluations can
answer are judged. With ``low`` and ``high`` one-sided 95 % bounds each, a demand is

    pass              when the bound on the safe side proves it
    fail              when the bound on the other side proves the opposite
    not enough data   when neither is proven, or fewer examples were measured than the method needs

A comparison (``vs``) is judged on the *gain*: by how much the subject is better than the other on the same items, pair
by pair. Only ``pass`` ships: anything else writes a refusal.

    better_by: d           pass: low > d          fail: high <= d
    worse_by_at_most: d    pass: low >= -d        fail: high < -d
    at_least: d            pass: low >= d         fail: high < d
    at_most: d             pass: high <= d        fail: low > d

What ships must have proven *all* its demands, and needs no correction for their number: a file with a fault passes the
gate on that fault 5 % of the time, however many others stand beside it. Accusing is another matter: of many true
demands some are refuted by chance. So ``gate/-/family`` looks at all verdicts of the release, and calls ``fail`` what
survives Holm's correction; the rest is ``not enough data`` (docs/gates.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from variantforge.spec.family import VariantSpec
from variantforge.stages.evaluate.metric import CLEAN, subjects
from variantforge.stages.gate.demands import PREVIOUS, Demand, demanded_of
from variantforge.stages.gate.family import judge_release
from variantforge.stages.gate.judging import judge
from variantforge.stages.gate.noise import AGAIN
from variantforge.stages.gate.outcomes import outcomes_file
from variantforge.stages.gate.problems import tell_problems
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Pin, Step, StepContext

FAMILY = "family"
FORCED = "forced"  # ``vf apply --force``: the verdicts stay, and what they refuse ships with the reason on its card


class Gate:
    """``takes_refused``: the family's own step looks at refused verdicts, too."""

    name = "gate"
    version = 3
    heavy = False
    takes_refused = True

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            tell_problems(desk)
            self._plan_release(desk)
            return
        for subject in subjects(variant):
            demands, params = desk.once(demanded_of, desk.folder, subject)
            inputs = _inputs(desk, name, subject, demands)
            if demands and inputs:
                before, pins = _previous(desk, name, subject, demands)
                step = Step(self.name, self.version, "bounds", params | before, inputs, pins)
                if reason := desk.forced(step.key):
                    step = replace(step, params={**step.params, FORCED: reason})
                desk.add(Place(self.name, name, subject), step)

    def _plan_release(self, desk: Desk) -> None:
        """All verdicts of the release, beside each other."""
        places = {
            f"{name}:{subject}": Place(self.name, name, subject)
            for name, variant in desk.family.variants.items()
            for subject in subjects(variant)
        }
        inputs = {role: step.key for role, place in places.items() if (step := desk.step(place))}
        if inputs:
            desk.add(Place(self.name, None, FAMILY), Step(self.name, self.version, "holm", {}, inputs))

    def do(self, context: StepContext) -> None:
        if context.step.method == "holm":
            context.write_facts(judge_release(context.inputs))
            return
        step, inputs = context.step, context.inputs
        verdicts = [judge(step, inputs, demand) for demand in step.params["demands"]]
        facts: dict[str, Any] = {"verdicts": [asdict(verdict) for verdict in verdicts]}
        if refused := [f"{verdict.verdict}: {verdict.why}" for verdict in verdicts if verdict.verdict != "pass"]:
            refusal, reason = "\n".join(refused), step.params.get(FORCED, "")
            told = {"reason": reason, "refusal": refusal, "gate": unforced(step).key}
            facts |= {FORCED: told} if reason else {"refusal": refusal}
        context.write_facts(facts)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


def unforced(step: Step) -> Step:
    """The gate as it refuses: its key is what a reason is remembered by, on any machine."""
    return replace(step, params={name: value for name, value in step.params.items() if name != FORCED})


def _inputs(desk: Desk, variant: str, subject: str, demands: Sequence[Demand]) -> dict[str, str]:
    """Role -> key of the evaluations needed; empty when one is missing (a problem was told elsewhere)."""
    steps: dict[str, Step | None] = {}
    for demand in demands:
        for role, of in _roles(demand, subject):
            found = desk.step(Place("evaluate", variant, f"{demand.evaluation}:{of}"))
            if role == AGAIN and found:
                found = _again(desk, variant, f"{demand.evaluation}:{of}", found)
            steps[f"{demand.evaluation}:{role}"] = found
            if demand.clean and role != AGAIN:
                view = desk.step(Place("evaluate", variant, f"{demand.evaluation}:{of} {CLEAN}"))
                steps[f"{demand.evaluation}:{role} {CLEAN}"] = view
    return {role: step.key for role, step in steps.items() if step} if all(steps.values()) else {}


def _roles(demand: Demand, subject: str) -> Iterator[tuple[str, str]]:
    """Role -> whose evaluation it is."""
    yield "subject", subject
    if demand.gate.vs and demand.gate.vs != PREVIOUS:
        yield demand.gate.vs, demand.gate.vs
    if demand.gate.noise_floor:
        yield AGAIN, subject


def _again(desk: Desk, variant: str, name: str, step: Step) -> Step:
    """The same measurement of the same bytes once more, in other batches."""
    return desk.add(Place("evaluate", variant, f"{name} {AGAIN}"), replace(step, params={**step.params, AGAIN: True}))


def _previous(
    desk: Desk, variant: str, subject: str, demands: Sequence[Demand]
) -> tuple[dict[str, str], dict[str, Pin]]:
    """The version of the release before and what it published, where a demand asks for that."""
    titles = {demand.evaluation for demand in demands if demand.gate.vs == PREVIOUS}
    before = desk.released_before() if titles else None
    if before is None:
        return {}, {}
    files = {title: before.files.get(outcomes_file(variant, title, subject)) for title in sorted(titles)}
    return {PREVIOUS: before.version}, {f"{title}:{PREVIOUS}": pin for title, pin in files.items() if pin}


STAGE = Gate()
