"""Training: one file for each method, and a row here."""

from __future__ import annotations

from variantforge.registry import Registry
from variantforge.stages.train.method import Method

METHODS: Registry[type[Method]] = Registry(
    "methods",
    "training method",
    {
        "sft": "variantforge.stages.train.sft:Sft",
        "continued": "variantforge.stages.train.sft:Continued",
        "dpo": "variantforge.stages.train.dpo:Dpo",
        "kto": "variantforge.stages.train.kto:Kto",
        "orpo": "variantforge.stages.train.orpo:Orpo",
        "distill": "variantforge.stages.train.distill:Distill",
        "grpo": "variantforge.stages.train.grpo:Grpo",
    },
)

__all__ = ["METHODS", "Method"]
