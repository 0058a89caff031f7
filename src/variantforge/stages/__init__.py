"""How each kind of work is planned and done. Read the line below first: it is the program."""

from __future__ import annotations

from variantforge.registry import Registry
from variantforge.stages.stage import Desk, Place, Stage

PIPELINE = ("base", "data", "train", "merge", "quantize", "evaluate", "gate", "card", "publish")

# Stages whose work also stands outside the store, where people can change it: only they are asked whether it is stale.
SHOWN_OUTSIDE = frozenset({"publish"})

STAGES: Registry[Stage] = Registry(
    "stages",
    "stage",
    {
        "base": "variantforge.stages.base.stage:STAGE",
        "data": "variantforge.stages.data.stage:STAGE",
        "train": "variantforge.stages.train.stage:STAGE",
        "merge": "variantforge.stages.merge.stage:STAGE",
        "quantize": "variantforge.stages.quantize.stage:STAGE",
        "evaluate": "variantforge.stages.evaluate.stage:STAGE",
        "gate": "variantforge.stages.gate.stage:STAGE",
        "card": "variantforge.stages.card.stage:STAGE",
        "publish": "variantforge.stages.publish.stage:STAGE",
    },
)


def stage(name: str) -> Stage:
    return STAGES.load(name)


__all__ = ["PIPELINE", "SHOWN_OUTSIDE", "STAGES", "Desk", "Place", "Stage", "stage"]
