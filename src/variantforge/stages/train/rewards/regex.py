"""1 where the answer matches a pattern, else 0."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from variantforge.spec.family import Section
from variantforge.stages.train.rewards.reward import Answer, Plain, Score

if TYPE_CHECKING:
    from variantforge.step import Pin


class RegexParams(Section):
    pattern: str = Field(min_length=1, description="a regular expression of Python's; a dot matches line ends too")
    match: Literal["search", "full"] = Field("search", description="somewhere in the answer, or all of it")
    ignore_case: bool = Field(False, description="whether case does not count")

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


class Regex(Plain):
    Params = RegexParams

    def __init__(self, params: Any, pins: Mapping[str, Pin]) -> None:
        super().__init__(params, pins)
        pattern = re.compile(params.pattern, re.DOTALL | (re.IGNORECASE if params.ignore_case else re.NOFLAG))
        self._matches = pattern.fullmatch if params.match == "full" else pattern.search

    def score(self, answers: Sequence[Answer]) -> Sequence[Score]:
        return [Score(1.0) if self._matches(answer.text.strip()) else Score(0.0, "no match") for answer in answers]
