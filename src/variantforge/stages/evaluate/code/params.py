"""What a user may write beside ``evaluator: code``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from variantforge.spec.family import Section

HUMANEVAL = "humaneval"


class CodeParams(Section):
    """``path`` is not part of the parameters that enter a key: the pin of its bytes is."""

    tasks: list[Literal["humaneval"]] = Field([], description="known suites: humaneval")
    path: str | None = Field(None, exclude=True, description="a JSONL file of problems: prompt or messages, and tests")
    mode: Literal["chat", "completion"] = Field(
        "chat", description="chat: the subject is asked by its template; completion: it goes on from the prompt"
    )
    samples: int = Field(1, ge=1, le=1000, description="programs written for each problem")
    k: list[int] = Field([1], min_length=1, description="pass@k is told for these k; at most 'samples' each")
    temperature: float = Field(
        0.0, ge=0, le=10, validate_default=True, description="0 is greedy; several samples want more, such as 0.8"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="the share of likeliest tokens that are drawn from")
    seed: int = Field(0, ge=0, description="of the random numbers that samples are drawn with")
    max_new_tokens: int = Field(768, ge=1, description="tokens after which an answer is cut")
    limit: int | None = Field(None, ge=1, description="only the first problems of each suite")
    timeout_s: float = Field(10.0, gt=0, le=600, description="wall time of one program with all its tests")
    memory_mb: int = Field(512, ge=64, le=65536, description="memory of one program")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision in which torch computes")

    @field_validator("k")
    @classmethod
    def _as_many_as_samples(cls, value: list[int], info: ValidationInfo) -> list[int]:
        samples = info.data.get("samples", max(value))
        if wrong := [k for k in value if not 1 <= k <= samples]:
            raise ValueError(f"pass@{wrong[0]} wants at least {wrong[0]} samples, and there are {samples}")
        return sorted(set(value))

    @field_validator("temperature")
    @classmethod
    def _samples_differ(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("samples", 1) > 1 and not value:
            raise ValueError("at temperature 0 all samples are one program: write 0.8, or leave 'samples' out")
        return value
