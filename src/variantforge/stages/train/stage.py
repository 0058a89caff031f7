"""The train stage: one step for each variant; how it is done is the method's affair (a row of METHODS)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from variantforge.spec.family import TrainSpec, VariantSpec
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Step, StepContext


class Method(Protocol):
    """A way of training. Its ``version`` enters the step's params: it moves when equal args now give other bytes."""

    version: int

    def problems(self, args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(argument, sentence) for each argument that cannot be honoured; names and types were checked before."""

    def train(self, context: StepContext) -> None:
        """Does the step: fills ``context.out`` and writes its facts."""


class TrainStage:
    name = "train"
    version = 1
    heavy = True
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        from variantforge.stages.train import METHODS

        if name is None or variant is None:
            return
        train, key = variant.train, f"variants.{name}.train"
        if train.method not in METHODS:
            desk.problem(f"{key}.method", METHODS.unknown(train.method))
            return
        method = METHODS.load(train.method)()
        for argument, text in method.problems(train.args):
            desk.problem(f"{key}.args.{argument}", text)
        base = desk.step(Place("merge", variant.from_) if variant.from_ else Place("base", name))
        data = desk.step(Place("data", name, "mix"))
        if base and data:
            desk.add(Place("train", name), self._step(train, method, base, data))

    def _step(self, train: TrainSpec, method: Method, base: Step, data: Step) -> Step:
        params = {"adapter": train.adapter.identity(), "args": dict(train.args), "recipe": method.version}
        inputs = {"base": base.key, "data": data.key}
        return Step("train", self.version, train.method, params=params, inputs=inputs)

    def do(self, context: StepContext) -> None:
        from variantforge.stages.train import METHODS

        METHODS.load(context.step.method)().train(context)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


STAGE = TrainStage()
