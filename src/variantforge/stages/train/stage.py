"""The train stage: one step for each variant; how it is done is the method's affair (a row of METHODS)."""

from __future__ import annotations

from variantforge.spec.family import TrainSpec, VariantSpec
from variantforge.stages.stage import Desk, Place
from variantforge.stages.train import METHODS
from variantforge.step import Artifact, Step, StepContext


class TrainStage:
    name = "train"
    version = 1
    heavy = True
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            return
        if variant.train.method not in METHODS:
            desk.problem(f"{desk.at_key}.train.method", METHODS.unknown(variant.train.method))
            return
        base = desk.step(Place("merge", variant.from_) if variant.from_ else Place("base", name))
        data = desk.step(Place("data", name, "mix"))
        if base and data:
            desk.add(Place("train", name), self._step(variant.train, base, data))

    def _step(self, train: TrainSpec, base: Step, data: Step) -> Step:
        recipe = METHODS.load(train.method).version
        params = {"adapter": train.adapter.identity(), "args": dict(train.args), "recipe": recipe}
        return Step("train", self.version, train.method, params, inputs={"base": base.key, "data": data.key})

    def do(self, context: StepContext) -> None:
        METHODS.load(context.step.method)().train(context)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


STAGE = TrainStage()
