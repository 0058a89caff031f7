"""The section ``gates``: what must hold before anything is published."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from variantforge.spec.section import Section

BOUNDS = ("better_by", "worse_by_at_most", "at_most", "at_least")
_WILD = "*?["


def _by_format(figures: Any) -> Any:
    """One figure for all is that of ``*``."""
    if isinstance(figures, int | float) and not isinstance(figures, bool):
        return {"*": figures}
    if isinstance(figures, dict):
        return figures
    raise ValueError("a number is wanted here, or one for each format: {Q8_0: 0.005, '*': 0.1}")


def _schema(**number: float) -> WithJsonSchema:
    one = {"type": "number", **number}
    return WithJsonSchema({"anyOf": [one, {"type": "object", "additionalProperties": one}]})


# One figure for all, or one per format: {Q8_0: 0.005, "Q4_*": 0.06, "*": 0.1}.
Figures = Annotated[dict[str, float], BeforeValidator(_by_format), _schema()]
Margins = Annotated[dict[str, Annotated[float, Field(ge=0)]], BeforeValidator(_by_format), _schema(minimum=0)]


class GateSpec(Section):
    """One demand on one metric. Exactly one of the four bounds is set."""

    metric: str = Field(description="<name under evaluate>.<metric>, e.g. heldout.loss; general.* for all of them")
    on: list[str] = Field([], description="what it applies to: merged, nf4, gguf:Q4_K_M, gguf:*; everything by default")
    vs: Literal["base", "merged", "previous"] | None = Field(
        None, description="compare with the base, the merged model, or the same file of the previous release"
    )
    better_by: Figures | None = Field(None, description="the interval's bound must be better by more than this")
    worse_by_at_most: Margins | None = Field(None, description="the interval's bound may be worse by this")
    at_most: Figures | None = Field(None, description="the interval's upper bound may be this")
    at_least: Figures | None = Field(None, description="the interval's lower bound must be this")
    min_examples: int | None = Field(
        None, ge=1, description="fewer examples than this prove nothing; by default as many as the method needs"
    )
    noise_floor: bool = Field(
        False, description="measure twice, in other batches; the margin must be twice what that alone changes"
    )

    @model_validator(mode="after")
    def _one_bound(self) -> GateSpec:
        relative = [name for name in BOUNDS[:2] if getattr(self, name) is not None]
        absolute = [name for name in BOUNDS[2:] if getattr(self, name) is not None]
        if len(relative) + len(absolute) != 1:
            raise ValueError("write exactly one of better_by, worse_by_at_most, at_most, at_least")
        if relative and self.vs is None:
            raise ValueError(f"{relative[0]} compares: say with what (vs: base | merged | previous)")
        if absolute and self.vs is not None:
            raise ValueError(f"{absolute[0]} is a fixed figure and takes no 'vs'")
        if self.noise_floor and self.vs is None:
            raise ValueError("noise_floor is of a comparison: say with what (vs: base | merged | previous)")
        if not self.figures:
            raise ValueError(f"{self.bound} names no format: write a figure, or {{Q8_0: 0.005, '*': 0.1}}")
        return self

    @property
    def bound(self) -> str:
        return next(name for name in BOUNDS if getattr(self, name) is not None)

    @property
    def figures(self) -> dict[str, float]:
        """Pattern -> what is demanded of the formats that it means."""
        figures: dict[str, float] = getattr(self, self.bound)
        return figures

    def figure(self, subject: str) -> float | None:
        """What is demanded of a subject: by its own name, else by the most specific pattern; None: nothing."""
        meant = [pattern for pattern in self.figures if names(pattern, subject)]
        return float(self.figures[max(meant, key=_specific)]) if meant else None


def names(pattern: str, subject: str) -> bool:
    """Whether a pattern means a subject: ``gguf:Q8_0``, its type ``Q8_0``, or ``gguf:*``, ``Q4_*``, ``*``."""
    return any(fnmatchcase(name, pattern) for name in {subject, subject.partition(":")[2] or subject})


def is_wild(pattern: str) -> bool:
    return any(sign in pattern for sign in _WILD)


def _specific(pattern: str) -> tuple[bool, int, int, str]:
    """Names before wildcards; of those, the one that says more of the type, then of the method; the rest is for the
    order to be the same."""
    return not is_wild(pattern), _letters(pattern.partition(":")[2] or pattern), _letters(pattern), pattern


def _letters(pattern: str) -> int:
    return sum(sign not in _WILD for sign in pattern)
