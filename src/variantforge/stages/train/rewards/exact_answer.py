"""1 where the answer is the row's ``answer``, else 0."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal

from pydantic import Field, model_validator

from variantforge.spec.family import Section
from variantforge.stages.train.rewards.reward import Answer, Plain, Score

_NUMBER = re.compile(r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_LONGEST_NUMBER = 200


class ExactAnswerParams(Section):
    extract: Literal["whole", "last_number", "boxed", "after"] = Field(
        "whole",
        description="what of a text is compared: all of it, its last number, the last \\boxed{...}, or what "
        "follows the last 'marker' to the end of its line",
    )
    marker: str | None = Field(None, min_length=1, description="with extract: after; '####' as in GSM8K by default")
    ignore_case: bool = Field(False, description="whether 'Paris' and 'paris' are the same")

    @model_validator(mode="after")
    def _marker_is_used(self) -> ExactAnswerParams:
        if self.marker is not None and self.extract != "after":
            raise ValueError("'marker' is read with extract: after only")
        return self


class ExactAnswer(Plain):
    """Texts are equal but for spaces; numbers, where both are, by value: 1,200 is 1200.0."""

    Params = ExactAnswerParams
    reads = "answer"

    def score(self, answers: Sequence[Answer]) -> Sequence[Score]:
        return [self._one(answer) for answer in answers]

    def _one(self, answer: Answer) -> Score:
        found, wanted = self.extracted(answer.text), self.extracted(str(answer.row["answer"]))
        wanted = str(answer.row["answer"]) if wanted is None else wanted  # a bare answer, without marker or box
        if found is None:
            return Score(0.0, "no answer found")
        return Score(1.0) if self._same(found, wanted) else Score(0.0, "another answer")

    def extracted(self, text: str) -> str | None:
        """The part of a text that is compared; None when there is none."""
        params: ExactAnswerParams = self.params
        match params.extract:
            case "whole":
                return text
            case "last_number":
                numbers: list[str] = _NUMBER.findall(text)
                return numbers[-1] if numbers else None
            case "boxed":
                return last_boxed(text)
            case "after":
                _, marker, rest = text.rpartition(params.marker or "####")
                return rest.strip().split("\n")[0] if marker else None

    def _same(self, one: str, other: str) -> bool:
        numbers = as_number(one), as_number(other)
        if numbers[0] is not None and numbers[1] is not None:
            return numbers[0] == numbers[1]
        words = [" ".join(text.split()) for text in (one, other)]
        return words[0] == words[1] or (self.params.ignore_case and words[0].casefold() == words[1].casefold())


def last_boxed(text: str) -> str | None:
    """What stands in the last ``\\boxed{...}``, braces inside it matched; None where there is none, or no end."""
    _, found, rest = text.rpartition("\\boxed{")
    depth = 1
    for place, letter in enumerate(rest if found else ""):
        depth += (letter == "{") - (letter == "}")
        if not depth:
            return rest[:place]
    return None


def as_number(text: str) -> Decimal | None:
    """A number with or without thousands' commas, a currency sign, a percent sign or a full stop after it."""
    plain = text.strip().removesuffix(".").strip("$%€£ ").replace(",", "")
    if len(plain) > _LONGEST_NUMBER or not _NUMBER.fullmatch(plain):
        return None
    try:
        return Decimal(plain)
    except InvalidOperation:
        return None
