"""The figures of a plan: for each step that would run, memory, time and disk, or why they are unknown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from variantforge.fsops import free_bytes
from variantforge.hashing import canonical_json
from variantforge.plan.estimate import disk
from variantforge.plan.estimate.bases import Found, base_step, shape_of_base
from variantforge.plan.estimate.machine import Machine, this_machine
from variantforge.plan.estimate.memory import Memory, memory_of
from variantforge.plan.estimate.recipe import Recipe, recipe_of
from variantforge.plan.estimate.rows import Rows, rows_of
from variantforge.plan.estimate.shape import Shape, UnknownShape
from variantforge.plan.estimate.speed import Past, flops_per_token, past_trainings, tokens_of
from variantforge.plan.plan import Plan
from variantforge.step import Step

# Arguments that decide over memory: trainings that differ in others only are estimated once.
_DECIDING = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "max_length", "packing", "activation_checkpointing",
    "gradient_checkpointing", "optim", "bf16", "fp16", "max_completion_length", "max_prompt_length", "num_generations",
    "precompute_ref_log_probs", "beta", "steps_per_generation",
)  # fmt: skip
LIMIT = "max_memory_gb"
GB = 1_000_000_000


@dataclass(frozen=True)
class Estimate:
    """Of one training. ``seconds`` and ``memory`` are None where unknown; ``why`` then tells the reason.

    ``disk_bytes`` stay; ``scratch_bytes`` are taken while it runs. ``longest``: a bound on the tokens of its rows.
    """

    memory: Memory | None
    why: str = ""
    seconds: float | None = None
    why_no_time: str = ""
    disk_bytes: float = 0.0
    scratch_bytes: float = 0.0
    limit_bytes: float | None = None
    longest: int | None = None

    @property
    def over_limit(self) -> bool:
        return self.memory is not None and self.limit_bytes is not None and self.memory.peak > self.limit_bytes


class Sizes(NamedTuple):
    """What trainings that differ in nothing that decides have in common."""

    memory: Memory
    disk_bytes: float
    scratch_bytes: float


@dataclass
class Estimator:
    """Estimates the trainings of one plan. ``machine`` is where they would run."""

    plan: Plan
    store: Found
    machine: Machine = field(default_factory=this_machine)
    _known: dict[tuple[object, ...], Sizes] = field(default_factory=dict)

    def of(self, step: Step) -> Estimate:
        """Of a train step."""
        limit = step.hints.get(LIMIT)
        empty = Estimate(None, limit_bytes=limit * GB if limit else None)
        try:
            return self._of(step, empty)
        except UnknownShape as error:
            return replace(empty, why=str(error), why_no_time=str(error))

    def _of(self, step: Step, empty: Estimate) -> Estimate:
        rows, shape = self._rows(step), self.shape(step)
        longest = rows.longest if rows else None
        recipe = recipe_of(step, self.machine, longest)
        sizes = self._sizes(shape, step, longest)
        seconds, why = self._seconds(step, shape, recipe, rows)
        return replace(
            empty,
            memory=sizes.memory,
            seconds=seconds,
            why_no_time=why,
            disk_bytes=sizes.disk_bytes,
            scratch_bytes=sizes.scratch_bytes,
            longest=longest,
        )

    def shape(self, step: Step) -> Shape:
        """Of the base that a step rests on, or is. Raises UnknownShape."""
        return shape_of_base(base_step(self.plan, step), self.store)

    def _sizes(self, shape: Shape, step: Step, longest: int | None) -> Sizes:
        args = {name: step.params["args"][name] for name in _DECIDING if name in step.params["args"]}
        teacher = self._teacher(step)
        asked = (id(shape), id(teacher), step.method, canonical_json([step.params["adapter"], args]), longest)
        if asked not in self._known:
            recipe = recipe_of(step, self.machine, longest)
            on_disk = disk.trained_bytes(shape, recipe), disk.checkpoint_bytes(shape, recipe)
            self._known[asked] = Sizes(memory_of(shape, recipe, teacher), *on_disk)
        return self._known[asked]

    def _teacher(self, step: Step) -> Shape | None:
        """Of the model whose logits a step learns. Raises UnknownShape."""
        teacher = self.plan.steps.get(step.inputs.get("teacher", ""))
        return self.shape(teacher) if teacher else None

    def with_edits(self, step: Step, args: Mapping[str, Any], adapter: Mapping[str, Any]) -> int | None:
        """The peak that a step would have with other arguments; None where unknown."""
        params = {**step.params, "args": {**step.params["args"], **args}}
        params["adapter"] = {**step.params["adapter"], **adapter}
        estimate = self.of(Step(step.stage, step.version, step.method, params, step.inputs, step.pins, step.hints))
        return estimate.memory.peak if estimate.memory else None

    def recipe(self, step: Step) -> Recipe:
        rows = self._rows(step)
        return recipe_of(step, self.machine, rows.longest if rows else None)

    def _rows(self, step: Step) -> Rows | None:
        data = self.plan.steps.get(step.inputs.get("data", ""))
        return rows_of(self.store.find(data)) if data else None

    # --- time -----------------------------------------------------------------------------------------------------

    @cached_property
    def _past(self) -> list[Past]:
        return past_trainings(self.store.root)

    def _seconds(self, step: Step, shape: Shape, recipe: Recipe, rows: Rows | None) -> tuple[float | None, str]:
        same = [one for one in self._past if one.method == step.method]
        speeds = [speed for one in same if (speed := self._flops_per_s(one))]
        if not speeds:
            return None, f"no {step.method} was trained in this store on such a machine yet"
        tokens = tokens_of(recipe, rows, step.inputs["data"], same)
        if tokens is None:
            return None, "the rows were not mixed yet" if rows is None else "how many tokens its rows have is not known"
        around = statistics.median(one.around_s for one in same)
        return tokens * flops_per_token(shape, recipe) / statistics.median(speeds) + around, ""

    def _flops_per_s(self, past: Past) -> float | None:
        """How fast an earlier training was; None where its base is no longer known."""
        step = Step("train", 1, past.method, {"adapter": past.adapter, "args": dict(past.args)}, {"base": past.base})
        try:
            flops = flops_per_token(self.shape(step), recipe_of(step, self.machine))
        except (UnknownShape, ValueError):
            return None
        return past.tokens * flops / past.train_s if past.train_s > 0 else None


@dataclass(frozen=True)
class Estimates:
    """``of``: key -> estimate, for every training that would run. ``written_bytes``: by all steps, in the store."""

    of: Mapping[str, Estimate]
    machine: Machine
    written_bytes: float
    free_bytes: int
    unsized: tuple[str, ...]

    @property
    def seconds(self) -> float | None:
        """Of all trainings; None when one of them is unknown."""
        times = [estimate.seconds for estimate in self.of.values()]
        return None if None in times else sum(time for time in times if time is not None)


def estimate_plan(plan: Plan, keys: Iterable[str], store: Found, machine: Machine | None = None) -> Estimates:
    """``keys``: the steps that would run. Reads headers and small files; loads nothing."""
    steps = [plan.steps[key] for key in keys]
    if not any(step.stage == "train" for step in steps):
        return Estimates({}, machine or Machine("cpu", False, None), 0.0, 0, ())
    estimator = Estimator(plan, store, machine or this_machine())
    found = {step.key: estimator.of(step) for step in steps if step.stage == "train" and "adapter" in step.params}
    written, unsized = _written(estimator, steps, found)
    return Estimates(found, estimator.machine, written, free_bytes(store.root), unsized)


def _written(estimator: Estimator, steps: list[Step], found: Mapping[str, Estimate]) -> tuple[float, tuple[str, ...]]:
    """Bytes that the store will hold at its fullest beside what it holds now, and the steps that were left out."""
    total, unsized = 0.0, []
    for step in steps:
        size = found[step.key].disk_bytes if step.key in found else _model_bytes(estimator, step)
        if size is None:
            unsized.append(estimator.plan.label(step.key))
        total += size or 0.0
    return total + max((estimate.scratch_bytes for estimate in found.values()), default=0.0), tuple(unsized)


def _model_bytes(estimator: Estimator, step: Step) -> float | None:
    """What a step leaves in the store: of those that write models. Rows, measurements and cards are small."""
    if step.stage not in ("base", "merge", "quantize") or (step.stage == "base" and "model" not in step.pins):
        return 0.0
    try:
        shape = estimator.shape(_resting_on(estimator.plan, step))
    except UnknownShape:
        return None
    return disk.quantized_bytes(shape, step) if step.stage == "quantize" else disk.model_bytes(shape)


def _resting_on(plan: Plan, step: Step) -> Step:
    """The nearest step that says which base it has: a quantized file's is its model's."""
    return plan.steps[step.inputs["model"]] if step.stage == "quantize" and "model" in step.inputs else step
