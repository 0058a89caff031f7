"""Rewards that TRL ships, under their own names and with their own parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from variantforge.spec.family import Section
from variantforge.stages.train.rewards.reward import Answer, Plain, Score


class NoParams(Section):
    pass


class RepetitionPenaltyParams(Section):
    ngram_size: int = Field(3, ge=1, description="tokens of an n-gram")
    max_penalty: float = Field(-1.0, le=0, description="the penalty where all n-grams are repeated")


class SoftOverlongPunishmentParams(Section):
    max_completion_len: int = Field(ge=1, description="tokens of the longest answer")
    soft_punish_cache: int = Field(ge=0, description="how many tokens before that the punishment begins")


class _OfTrl(Plain, ABC):
    def score(self, answers: Sequence[Answer]) -> Sequence[Score]:
        texts = [[{"role": "assistant", "content": answer.text}] for answer in answers]
        ids = [list(answer.ids) for answer in answers]
        return [Score(float(value)) for value in self._function()(completions=texts, completion_ids=ids)]

    @abstractmethod
    def _function(self) -> Callable[..., Sequence[float]]:
        """TRL's reward, with its parameters in it."""


class ThinkFormat(_OfTrl):
    """1 where the answer begins with one ``<think>...</think>``."""

    Params = NoParams

    def _function(self) -> Any:
        from trl.rewards import think_format_reward

        return think_format_reward


class RepetitionPenalty(_OfTrl):
    Params = RepetitionPenaltyParams

    def _function(self) -> Any:
        from trl.rewards import get_repetition_penalty_reward

        return get_repetition_penalty_reward(**self.params.model_dump())


class SoftOverlongPunishment(_OfTrl):
    Params = SoftOverlongPunishmentParams

    def _function(self) -> Any:
        from trl.rewards import get_soft_overlong_punishment

        return get_soft_overlong_punishment(**self.params.model_dump())
