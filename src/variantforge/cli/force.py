"""``vf apply --force REASON``: what gates refuse ships all the same, and it is told wherever it is seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from variantforge.cli.output import Output
from variantforge.errors import UsageError

if TYPE_CHECKING:
    from variantforge.cli.opening import Opened
    from variantforge.plan.plan import Plan
    from variantforge.run.results import RunReport


def check_reason(reason: str | None) -> str | None:
    """Raises UsageError for an empty one: cards will hold it."""
    if reason is not None and not reason.strip():
        raise UsageError(
            "--force wants a reason",
            why="It stands on the cards of what ships although a gate refused it.",
            next='vf apply --force "the regression on maths is accepted for this version"',
        )
    return None if reason is None else " ".join(reason.split())


def force_refused(opened: Opened, report: RunReport, reason: str) -> bool:
    """Remembers the reason for every gate that refused in this run; whether there was one."""
    from variantforge.store.forced import force

    plan = opened.plan
    refused = {key: plan.label(key) for key in report.keys("refused") if plan.steps[key].stage == "gate"}
    if refused:
        with opened.store.locked():
            force(opened.store.root, plan.family.family, refused, reason)
    return bool(refused)


def forced_gates(plan: Plan) -> Iterator[dict[str, Any]]:
    """Gates of a plan whose refusal was overridden."""
    for key, step in plan.steps.items():
        # A remembered step is parsed when it is asked; of thousands, the text alone says that it need not be.
        if step.stage == "gate" and '"forced"' in step.text and (reason := step.params.get("forced")):
            yield {"key": key, "gate": plan.label(key), "reason": reason}


def write_forced(out: Output, plan: Plan) -> None:
    rows = [(one["gate"], one["reason"]) for one in forced_gates(plan)]
    if rows:
        out.line(("forced: ships although a gate refused it", "yellow"))
        out.table(rows)
