"""Rewards: what an answer of the model is worth. One file for each, and a row here."""

from __future__ import annotations

from variantforge.registry import Registry
from variantforge.stages.train.rewards.reward import Answer, Reward, Score

_HERE = "variantforge.stages.train.rewards"
REWARDS: Registry[type[Reward]] = Registry(
    "rewards",
    "reward",
    {
        "exact_answer": f"{_HERE}.exact_answer:ExactAnswer",
        "regex": f"{_HERE}.regex:Regex",
        "json_valid": f"{_HERE}.json_valid:JsonValid",
        "unit_tests": f"{_HERE}.unit_tests:UnitTests",
        "python": f"{_HERE}.python:Python",
        "think_format": f"{_HERE}.of_trl:ThinkFormat",
        "repetition_penalty": f"{_HERE}.of_trl:RepetitionPenalty",
        "soft_overlong_punishment": f"{_HERE}.of_trl:SoftOverlongPunishment",
    },
)

__all__ = ["REWARDS", "Answer", "Reward", "Score"]
