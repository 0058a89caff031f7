"""The train stage: one step for each variant; how it is done is the method's affair (a row of METHODS)."""

from __future__ import annotations

from typing import Any

from variantforge.spec.family import AdapterSpec, RowsDataset, VariantSpec
from variantforge.stages.data.formats import kind_of_format
from variantforge.stages.models import quiet
from variantforge.stages.stage import Desk, Place
from variantforge.stages.train import METHODS, Method
from variantforge.stages.train.config import effective_args, split_tracking
from variantforge.stages.train.processes import Layout, shared
from variantforge.stages.train.processes.planning import resource_hints, tell_what_cannot_be_shared
from variantforge.stages.train.smaller import done_within_memory, halve
from variantforge.stages.train.tracking import lasting_folders, tell_missing_trackers, tracking_hints
from variantforge.step import Artifact, Step, StepContext


class TrainStage:
    name = "train"
    version = 1
    heavy = True
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            return
        train = variant.train
        if train.method not in METHODS:
            desk.problem(f"{desk.at_key}.train.method", METHODS.unknown(train.method))
            return
        method = METHODS.load(train.method)()
        _tell_wrong_rows(desk, variant, method)
        if train.rewards and not getattr(method, "takes_rewards", False):
            desk.problem(f"{desk.at_key}.train.rewards", f"{train.method} reads no rewards: they are for grpo")
        args, tracking = split_tracking(train.args)
        tell_missing_trackers(desk, tracking.get("report_to"))
        tell_what_cannot_be_shared(desk, variant, effective_args(train.adapter, args, method.defaults))
        needs = method.needs(desk, name, variant)
        base = desk.step(Place("merge", variant.from_) if variant.from_ else Place("base", name))
        data = desk.step(Place("data", name, "mix"))
        if not (base and data and needs):
            return
        params = {"adapter": train.adapter.identity(), "args": args, "recipe": method.version, **needs.params}
        if desk.family.data_policy.on_special_tokens == "keep":
            params["special_tokens"] = "keep"
        inputs = {"base": base.key, "data": data.key, **needs.inputs}
        hints = resource_hints(variant.resources)
        hints |= tracking_hints(desk, name, tracking)
        if train.on_spike != "stop":
            hints["on_spike"] = train.on_spike
        step = Step("train", self.version, train.method, params, inputs, pins=needs.pins, hints=hints)
        desk.add(Place("train", name), step)

    def do(self, context: StepContext) -> None:
        method, layout, own = _laid_out(context.step)

        def train() -> None:
            if not layout.launched:
                method.train(context)
                return
            from variantforge.stages.train.processes.launch import train_together

            train_together(context, layout)

        with quiet(), lasting_folders(context.step):
            while not done_within_memory(train, context, own):
                pass  # with half the micro-batch

    def shrink(self, context: StepContext, why: str) -> None:
        """Raises OutOfMemory when the micro-batch cannot be halved any more."""
        _, _, own = _laid_out(context.step)
        halve(context, own, why)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


def _laid_out(step: Step) -> tuple[Method, Layout, dict[str, Any]]:
    """How a step is done: its method, its processes, and the arguments of each of them."""
    method: Method = METHODS.load(step.method)()
    args = effective_args(AdapterSpec(**step.params["adapter"]), step.params["args"], method.defaults)
    layout = Layout.of(step.hints, args)
    return method, layout, {**args, **shared(args, layout.processes)}


def _tell_wrong_rows(desk: Desk, variant: VariantSpec, method: Method) -> None:
    """Where a dataset's format is declared, what it holds is known before anything is read."""
    for dataset in variant.data.sources:
        section = desk.family.datasets.get(dataset)
        kind = kind_of_format(section.format) if isinstance(section, RowsDataset) else "messages"
        if section is None or kind is None or kind in method.rows:
            continue
        told = f"'{dataset}' holds rows of the kind {kind}"
        wanted = f"{variant.train.method} learns from {' or '.join(method.rows)}"
        said = "epochs" if variant.data.epochs else "mix"
        desk.problem(f"{desk.at_key}.data.{said}.{dataset}", f"{told}; {wanted}")


STAGE = TrainStage()
