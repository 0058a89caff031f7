"""How steps end, and who is told: the words in which a run is reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from variantforge.errors import GateFailed, IntegrityError, Interrupted, OutOfSpace, VariantforgeError
from variantforge.plan.build import Plan
from variantforge.plan.explain import Decision

Outcome = Literal["done", "reused", "refused", "failed", "stopped", "not run"]

# After these nothing more is begun: the cause would meet every other step too.
FATAL = (Interrupted, OutOfSpace, IntegrityError)


class Reporter(Protocol):
    """Who is told how a run goes. Several steps may be at work at once; ``key`` says which one is meant."""

    def start(self, plan: Plan, decisions: Mapping[str, Decision]) -> None: ...

    def step_started(self, key: str, label: str) -> None: ...

    def event(self, key: str, event: Mapping[str, Any]) -> None: ...

    def step_ended(self, key: str, label: str, result: Result) -> None: ...


class Silent:
    """A reporter that says nothing."""

    def start(self, plan: Plan, decisions: Mapping[str, Decision]) -> None: ...

    def step_started(self, key: str, label: str) -> None: ...

    def event(self, key: str, event: Mapping[str, Any]) -> None: ...

    def step_ended(self, key: str, label: str, result: Result) -> None: ...


@dataclass(frozen=True)
class Result:
    """How one step ended. ``refused``: done, and its verdict keeps what hangs on it from shipping."""

    outcome: Outcome
    seconds: float = 0.0
    message: str = ""
    error: VariantforgeError | None = None


@dataclass
class RunReport:
    """All results, in the plan's order."""

    results: dict[str, Result] = field(default_factory=dict)
    seconds: float = 0.0

    def keys(self, *outcomes: Outcome) -> list[str]:
        return [key for key, result in self.results.items() if result.outcome in outcomes]

    @property
    def error(self) -> VariantforgeError | None:
        """What the command should end with: the gravest failure, a refusal by a gate, or None."""
        errors = [result.error for result in self.results.values() if result.error]
        for fatal in FATAL:
            for error in errors:
                if isinstance(error, fatal):
                    return error
        if errors:
            return errors[0]
        refused = [result.message for result in self.results.values() if result.outcome == "refused"]
        return GateFailed("a gate did not pass", why="\n".join(dict.fromkeys(refused))) if refused else None
