"""The merge stage: an adapter folded into the very base it was trained on; the result is read back and compared."""

from __future__ import annotations

from pathlib import Path

from variantforge.errors import WrongBase
from variantforge.fsops import copy_file, make_folder
from variantforge.spec.family import VariantSpec
from variantforge.stages.merge import streamed, whole
from variantforge.stages.merge.compare import Prompts, compare, judge
from variantforge.stages.merge.inventory import inventory, require_same_inventory
from variantforge.stages.models import quiet
from variantforge.stages.stage import Desk, Place
from variantforge.stages.train import adapters
from variantforge.step import Artifact, Step, StepContext


class MergeStage:
    name = "merge"
    version = 1
    heavy = True
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            return
        base = desk.step(Place("merge", variant.from_) if variant.from_ else Place("base", name))
        trained, data = desk.step(Place("train", name)), desk.step(Place("data", name, "mix"))
        if base and trained and data:
            inputs = {"base": base.key, "adapter": trained.key, "data": data.key}
            desk.add(Place("merge", name), Step("merge", self.version, "fold", inputs=inputs))

    def do(self, context: StepContext) -> None:
        with quiet():
            _do(context)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


STAGE = MergeStage()


def _do(context: StepContext) -> None:
    base, trained = context.inputs["base"], context.inputs["adapter"]
    source, merged = base.path / "model", make_folder(context.out / "model")
    require_its_base(source, trained)
    adapter = trained.path / adapters.ADAPTER
    # without an adapter all weights were trained, and are the merged model
    folded = fold(context, source, adapter, merged) if adapter.exists() else _copy(trained.path / "model", merged)
    tensors = require_same_inventory(source, merged)
    measured = compare(context, Prompts.of(context, source))
    judge(measured)
    carried = {name: value for name, value in base.facts.items() if name != "refusal"}
    context.write_facts({**carried, **measured, "tensors": tensors, "folded": folded})


def require_its_base(base: Path, trained: Artifact) -> None:
    """Raises WrongBase when the base at hand is not, byte for byte, what was trained on."""
    wanted = trained.facts.get("base_sha256")
    if wanted and adapters.base_digest(base) != wanted:
        raise WrongBase(
            "the adapter was trained on another base than the one it would be folded into",
            why="The weights at hand have another digest than those that were trained on: one of the two was changed "
            "after its step was done.",
            next="run: variantforge verify, then apply again",
        )


def fold(context: StepContext, base: Path, adapter: Path, out: Path) -> int:
    """Writes ``out`` as ``base`` with the adapter in its weights; returns how many tensors changed."""
    updates = streamed.read_updates(adapter)
    if updates is not None and updates.keys() <= inventory(base).keys():
        return streamed.fold(context, base, updates, out)
    return whole.fold(context, base, adapter, out)


def _copy(source: Path, out: Path) -> int:
    for path in source.iterdir():
        copy_file(path, out / path.name)
    return len(inventory(source))
