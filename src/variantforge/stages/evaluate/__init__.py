"""How good each subject of a variant is: the base, the merged weights, and every quantized file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from variantforge.registry import Registry

if TYPE_CHECKING:
    from variantforge.stages.evaluate.evaluation import Evaluator

EVALUATORS: Registry[type[Evaluator]] = Registry(
    "evaluators",
    "evaluator",
    {
        "parity": "variantforge.stages.evaluate.parity.evaluator:Parity",
        "perplexity": "variantforge.stages.evaluate.perplexity:Perplexity",
        "format": "variantforge.stages.evaluate.format.evaluator:Format",
        "arena": "variantforge.stages.evaluate.arena.evaluator:Arena",
        "safety": "variantforge.stages.evaluate.safety.evaluator:Safety",
        "lm_eval": "variantforge.stages.evaluate.lm_eval.evaluator:LmEval",
        "code": "variantforge.stages.evaluate.code.evaluator:Code",
        "speed": "variantforge.stages.evaluate.speed.evaluator:Speed",
    },
)

__all__ = ["EVALUATORS"]
