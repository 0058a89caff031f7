"""How the estimates of a plan read: a block for people, a document for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from variantforge.cli.output import Cell, Output
from variantforge.cli.words import duration, size

if TYPE_CHECKING:
    from variantforge.cli.opening import Opened, Recalled
    from variantforge.errors import OutOfBudget
    from variantforge.plan.build import Plan
    from variantforge.plan.estimate import Estimate, Estimates
    from variantforge.plan.explain import Decision

_TERMS_TOLD = 3


def estimated(
    opened: Opened | Recalled, decisions: Mapping[str, Decision]
) -> tuple[Estimates | None, OutOfBudget | None]:
    """The estimates of what would run, and why it will not be; nothing is loaded where no training would run."""
    to_run = [key for key, decision in decisions.items() if decision.word == "run"]
    if not any(opened.plan.steps[key].stage == "train" for key in to_run):
        return None, None
    from variantforge.errors import OutOfBudget
    from variantforge.plan.estimate import estimate_plan, refuse_over_budget

    estimates = estimate_plan(opened.plan, to_run, opened.store)
    try:
        refuse_over_budget(opened.plan, estimates, opened.store)
    except OutOfBudget as refusal:
        return estimates, refusal
    return estimates, None


def write_estimates(out: Output, plan: Plan, estimates: Estimates) -> None:
    """What the trainings will take. Nothing where there is none."""
    if not estimates.of:
        return
    out.line(("estimates", "bold"))
    rows: list[tuple[Cell, ...]] = [(plan.label(key), *_cells(one)) for key, one in estimates.of.items()]
    out.table(rows)
    out.line(_sum(estimates))
    for warning in _warnings(plan, estimates):
        out.line(("warning:", "yellow"), warning)


def _cells(one: Estimate) -> tuple[str, str, str]:
    time = "time unknown" if one.seconds is None else f"about {duration(one.seconds)}"
    if one.memory is None:
        return "memory unknown", time, one.why
    terms = ", ".join(f"{name} {size(count)}" for name, count in list(one.memory.terms.items())[:_TERMS_TOLD])
    return f"{'roughly ' * one.memory.rough}{size(one.memory.peak)} memory", time, terms


def _sum(estimates: Estimates) -> str:
    peaks = [one.memory.peak for one in estimates.of.values() if one.memory]
    memory = f"{size(max(peaks))} of memory at most" if peaks else "memory unknown"
    seconds = estimates.seconds
    reasons = list(dict.fromkeys(one.why_no_time for one in estimates.of.values() if one.why_no_time))
    time = f"time unknown ({reasons[0]})" if seconds is None else f"about {duration(seconds)} of training"
    disk = f"{size(estimates.written_bytes)} of disk" + (" and more" if estimates.unsized else "")
    return f"in all: {memory}, {time}, {disk} ({size(estimates.free_bytes)} free)"


def _warnings(plan: Plan, estimates: Estimates) -> list[str]:
    has = estimates.machine.memory_bytes
    told = [
        f"{plan.label(key)} is predicted to need {size(one.memory.peak)}, and this machine has {size(has)} to give"
        for key, one in estimates.of.items()
        if one.memory and has is not None and one.memory.peak > has
    ]
    if estimates.written_bytes > estimates.free_bytes:
        told.append("the disk of the store is too small for that: vf apply will refuse to start")
    return told


def estimates_document(plan: Plan, estimates: Estimates) -> dict[str, Any]:
    """For programs: bytes and seconds, null where unknown."""
    return {
        "steps": {key: _document(one) for key, one in estimates.of.items()},
        "seconds": estimates.seconds,
        "disk_bytes": round(estimates.written_bytes),
        "disk_free_bytes": estimates.free_bytes,
        "disk_not_counted": list(estimates.unsized),
        "machine": {
            "device": estimates.machine.device,
            "bf16": estimates.machine.bf16,
            "memory_bytes": estimates.machine.memory_bytes,
        },
        "warnings": _warnings(plan, estimates),
    }


def _document(one: Estimate) -> Mapping[str, Any]:
    memory = one.memory
    return {
        "memory_bytes": memory.peak if memory else None,
        "memory_moment": memory.moment if memory else None,
        "memory_terms": {name: round(count) for name, count in memory.terms.items()} if memory else {},
        "rough": memory.rough if memory else None,
        "limit_bytes": one.limit_bytes,
        "seconds": one.seconds,
        "disk_bytes": round(one.disk_bytes),
        "scratch_bytes": round(one.scratch_bytes),
        "unknown": {
            **({"memory": one.why} if one.why else {}),
            **({"time": one.why_no_time} if one.why_no_time else {}),
        },
    }
