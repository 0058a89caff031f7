"""How good each subject of a variant is: the base, the merged weights, and every quantized file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from variantforge.registry import Registry

if TYPE_CHECKING:
    from variantforge.stages.evaluate.stage import Evaluator

EVALUATORS: Registry[type[Evaluator]] = Registry(
    "evaluators",
    "evaluator",
    {
        "perplexity": "variantforge.stages.evaluate.perplexity:Perplexity",
        "lm_eval": "variantforge.stages.evaluate.lm_eval.evaluator:LmEval",
        "parity": "variantforge.stages.evaluate.parity.evaluator:Parity",
        "format": "variantforge.stages.evaluate.format.evaluator:Format",
        "code": "variantforge.stages.evaluate.code.evaluator:Code",
        "speed": "variantforge.stages.evaluate.speed.evaluator:Speed",
    },
)

__all__ = ["EVALUATORS"]
