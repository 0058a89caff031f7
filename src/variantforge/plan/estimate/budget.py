"""Refusing what would not fit: memory above the family's own limit, and files for which the disk has no room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from variantforge.errors import OutOfBudget, OutOfSpace
from variantforge.plan.estimate.bases import Found
from variantforge.plan.estimate.estimates import GB, LIMIT, Estimate, Estimates, Estimator
from variantforge.plan.plan import Plan
from variantforge.step import Step

_SHORTEST = 128  # tokens: no shorter max_length is proposed
_TERMS_TOLD = 5


class Edit(NamedTuple):
    """A change to the family file that lowers a training's memory."""

    text: str
    args: Mapping[str, Any]
    adapter: Mapping[str, Any]


def refuse_over_budget(plan: Plan, estimates: Estimates, store: Found) -> None:
    """Raises OutOfBudget for the first training that is predicted above its ``resources.max_memory_gb``."""
    over = [key for key, estimate in estimates.of.items() if estimate.over_limit]
    if over:
        others = "" if len(over) == 1 else f" ({len(over) - 1} more are above their limit)"
        raise _out_of_budget(plan, over[0], estimates, store, others)


def _out_of_budget(plan: Plan, key: str, estimates: Estimates, store: Found, others: str) -> OutOfBudget:
    estimate, step = estimates.of[key], plan.steps[key]
    memory, limit = estimate.memory, estimate.limit_bytes
    assert memory is not None
    assert limit is not None
    told = list(memory.terms.items())[:_TERMS_TOLD]
    terms = ", ".join(f"{name} {gb(size)}" for name, size in told)
    return OutOfBudget(
        f"{plan.label(key)} would need {gb(memory.peak)} of memory, and resources.{LIMIT} allows {gb(limit)}{others}",
        why=f"At its peak ({memory.moment}): {terms}.",
        next=_advice(Estimator(plan, store, estimates.machine), step, estimate),
    )


def _advice(estimator: Estimator, step: Step, estimate: Estimate) -> str:
    """Each edit with the figure it would give; all together where none alone is enough."""
    edits = list(_edits(estimator, step))
    figures = [(edit, estimator.with_edits(step, edit.args, edit.adapter)) for edit in edits]
    useful = [(edit, peak) for edit, peak in figures if peak and estimate.memory and peak < estimate.memory.peak]
    lines = [f"{edit.text}: {gb(peak)}" for edit, peak in sorted(useful, key=lambda one: one[1])]
    if not any(peak <= (estimate.limit_bytes or 0) for _, peak in useful) and len(useful) > 1:
        together = estimator.with_edits(
            step,
            {name: value for edit, _ in useful for name, value in edit.args.items()},
            {name: value for edit, _ in useful for name, value in edit.adapter.items()},
        )
        lines += [f"all of these together: {gb(together)}"] if together else []
    if estimate.longest is None:
        lines.append("vf apply --until data, then plan again: shorter rows than max_length need less")
    lines.append(f"raise resources.{LIMIT}")
    return "edit the variant's train, for example\n" + "\n".join(f"  {line}" for line in lines)


def _edits(estimator: Estimator, step: Step) -> Iterator[Edit]:
    recipe = estimator.recipe(step)
    batch, length = int(recipe.args["per_device_train_batch_size"]), recipe.args.get("max_length")
    if batch > 1:
        kept = recipe.accumulation * batch
        text = f"args: {{per_device_train_batch_size: 1, gradient_accumulation_steps: {kept}}}"
        yield Edit(text, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": kept}, {})
    if not recipe.checkpointing:
        yield Edit("args: {activation_checkpointing: true}", {"activation_checkpointing": True}, {})
    if recipe.adapter.type == "lora":
        yield Edit("adapter: {type: qlora}", {}, {"type": "qlora"})
    if recipe.full:
        yield Edit("adapter: {type: lora}", {}, {"type": "lora"})
    if isinstance(length, int) and length >= 2 * _SHORTEST:
        yield Edit(f"args: {{max_length: {length // 2}}}", {"max_length": length // 2}, {})


def refuse_without_room(estimates: Estimates, store: Found) -> None:
    """Raises OutOfSpace where the steps that would run write more than the disk of the store has free."""
    if estimates.of and estimates.written_bytes > estimates.free_bytes:
        raise OutOfSpace(
            f"about {gb(estimates.written_bytes)} will be written, and {gb(estimates.free_bytes)} are free "
            f"at {store.root}",
            why="That is what the trained, merged and quantized models take, and the checkpoints of the largest "
            "training. Nothing was run.",
            next="free some space there, or choose another place with --store",
        )


def gb(size_bytes: float) -> str:
    return f"{size_bytes / GB:.2f} GB" if size_bytes < 10 * GB else f"{size_bytes / GB:.1f} GB"
