"""Refusing a run that would meet generated code, on a machine that has no walls to run it behind.

The step itself refuses too, before it asks a model for anything. But that may be hours after the first one began.
"""

from __future__ import annotations

from collections.abc import Iterable

from variantforge import sandbox
from variantforge.errors import SandboxMissing
from variantforge.plan.plan import Plan
from variantforge.stages import PIPELINE
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.evaluate.metric import CLEAN
from variantforge.stages.train.rewards import REWARDS
from variantforge.step import Step


def refuse_without_walls(plan: Plan, to_run: Iterable[str]) -> None:
    """Raises SandboxMissing where one of the steps ``to_run`` runs code that a model wrote, and a wall is missing here.

    The walls are tried live, once in a process; nothing is started for a plan without such a step.
    """
    in_need = [key for key in to_run if runs_generated_code(plan.steps[key])]
    if not in_need:
        return
    try:
        sandbox.require()
    except SandboxMissing as missing:
        raise _refusal(plan, in_need, missing) from None


def runs_generated_code(step: Step) -> bool:
    """Whether the evaluator, or a reward, of a step says that it does (``sandboxed``)."""
    if step.stage == "evaluate" and step.method in EVALUATORS and CLEAN not in step.params:
        return bool(getattr(EVALUATORS.load(step.method), "sandboxed", False))
    if step.stage != "train" or '"rewards"' not in step.text:  # a remembered step is parsed when it is asked
        return False
    told = [one["reward"] for one in step.params.get("rewards", ())]
    return any(getattr(REWARDS.load(name), "sandboxed", False) for name in told if name in REWARDS)


def _refusal(plan: Plan, in_need: list[str], missing: SandboxMissing) -> SandboxMissing:
    others = f", and so would {len(in_need) - 1} more" if len(in_need) > 1 else ""
    before = PIPELINE[min(PIPELINE.index(plan.steps[key].stage) for key in in_need) - 1]
    return SandboxMissing(
        f"{plan.label(in_need[0])} would run code that a model writes{others}, and this machine has no sandbox for it",
        why=f"{missing.why}\nNothing was run.",
        next=f"{missing.next}\nvf apply --until {before}   # what comes before it runs without one",
    )
