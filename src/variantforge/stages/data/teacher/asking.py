"""What a teacher is asked: how many prompts, how many answers of which are kept, who answers, how long its pace takes.

The same words in a plan and in the step, right before the first question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from variantforge.stages.data.teacher.planning import TEACHER, section_of
from variantforge.step import Step
from variantforge.words import duration


@dataclass(frozen=True)
class Asking:
    """``prompts``: those that differ; None where nobody knows yet, and ``why`` says so. ``exact``: else at most that
    many. ``kept``: answers that are there already; None where that was not looked up. ``requests_per_minute``: of an
    endpoint, None for as fast as it answers."""

    by: Mapping[str, str]
    prompts: int | None
    samples: int
    kept: int | None = None
    exact: bool = True
    requests_per_minute: float | None = None
    why: str = ""

    @property
    def answers(self) -> int | None:
        return None if self.prompts is None else self.prompts * self.samples

    @property
    def to_ask(self) -> int | None:
        """Answers that are still to be written."""
        return None if self.answers is None else self.answers - (self.kept or 0)

    @property
    def seconds(self) -> float | None:
        """The least that the questions take at their pace; None where none was set, or nobody knows how many."""
        if self.to_ask is None or not self.requests_per_minute:
            return None
        return self.to_ask * 60.0 / self.requests_per_minute

    @property
    def who(self) -> str:
        """``variant big``, ``model ./other``, ``large-2 at https://api.example.org/v1``."""
        if "endpoint" in self.by:
            return f"{self.by['model']} at {self.by['endpoint']}"
        return next(f"{kind} {name}" for kind, name in self.by.items())

    @property
    def how_many(self) -> str:
        """``600 answers to 200 prompts, 250 of them kept: 350 to ask``."""
        if self.prompts is None:
            return f"unknown how many prompts: {self.why}"
        told = f"{_counted(self.prompts * self.samples, 'answer')} to {_counted(self.prompts, 'prompt')}"
        told = told if self.exact else f"at most {told} ({self.why})"
        if not self.kept:
            return told
        return f"{told}, {self.kept:,} kept: {self.to_ask:,} to ask" if self.to_ask else f"{told}, all of them kept"

    @property
    def how_long(self) -> str:
        """``at 60 a minute that takes 5 min 50 s or more``; '' where only time will tell."""
        if not self.requests_per_minute:
            return ""
        pace = f"at {self.requests_per_minute:g} a minute"
        if self.seconds is None:
            return pace
        return f"{pace} {'that takes' if self.exact else 'so many take'} {duration(self.seconds)} or more"


def asking_of(step: Step, prompts: int | None, *, kept: int | None = None, exact: bool = True, why: str = "") -> Asking:
    """Of a step in which a teacher writes."""
    hints = step.hints
    return Asking(
        by=_by(hints, step.params[TEACHER]),
        prompts=prompts,
        samples=section_of(step).samples,
        kept=kept,
        exact=exact,
        requests_per_minute=hints.get("pace", {}).get("requests_per_minute"),
        why=why,
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _by(hints: Mapping[str, Any], told: Mapping[str, str]) -> dict[str, str]:
    if "endpoint" in told:
        return {"model": told["model"], "endpoint": told["endpoint"]}
    return {str(hints.get("by", "model")): str(hints.get("called", ""))}
