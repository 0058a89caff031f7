"""Walks a plan: reuse, run, record. A failure stops its dependents only; a kill at any instant loses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from variantforge.errors import (
    GateFailed,
    IntegrityError,
    Interrupted,
    OutOfSpace,
    VariantforgeError,
)
from variantforge.fsops import telling_disk_errors
from variantforge.plan.build import Plan
from variantforge.plan.estimate import estimate_plan, refuse_over_budget, refuse_without_room
from variantforge.plan.explain import Decision, Reuse, explain
from variantforge.run.executor import Executor, Job
from variantforge.run.inline import Inline
from variantforge.run.isolated import Isolated, unexpected
from variantforge.run.stopping import stop_on_signals
from variantforge.stages import Place, stage
from variantforge.step import Artifact, Step
from variantforge.store.artifacts import Store
from variantforge.store.journal import Journal

Outcome = Literal["done", "reused", "refused", "failed", "stopped", "not run"]

# After these nothing more is started: the cause would meet every other step too.
_FATAL = (Interrupted, OutOfSpace, IntegrityError)
_BEFORE_IT = "the run was stopped before it"


class Reporter(Protocol):
    """Who is told how a run goes."""

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
        for fatal in _FATAL:
            for error in errors:
                if isinstance(error, fatal):
                    return error
        if errors:
            return errors[0]
        refused = [result.message for result in self.results.values() if result.outcome == "refused"]
        return GateFailed("a gate did not pass", why="\n".join(dict.fromkeys(refused))) if refused else None


@dataclass
class Runner:
    """One walk over a plan. ``heavy`` is where steps that import torch run."""

    plan: Plan
    store: Store
    journal: Journal
    heavy: Executor
    light: Executor = field(default_factory=Inline)
    reporter: Reporter = field(default_factory=Silent)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, selected: frozenset[str] | None = None) -> RunReport:
        """Raises Locked when another process works on the store, OutOfBudget or OutOfSpace before anything is run where
        that would not fit; every other failure is in the report."""
        with self.store.locked(), stop_on_signals(self.stop):
            used = self.journal.used(self.plan.family.family)
            decisions = explain(self.plan, self.store, used, selected)
            self._refuse_what_does_not_fit(decisions)
            self.reporter.start(self.plan, decisions)
            report, started = RunReport(), time.monotonic()
            self._remember(
                (place, key)
                for place, key in self.plan.places.items()
                if isinstance(decisions.get(key), Reuse) and (place not in used or used[place].key != key)
            )
            run = self._walk(decisions, report)
            report.seconds = time.monotonic() - started
            if run is not None:
                self.journal.end(run, type(report.error).__name__ if report.error else "done")
            return report

    def _refuse_what_does_not_fit(self, decisions: Mapping[str, Decision]) -> None:
        """Raises OutOfBudget or OutOfSpace before anything is run."""
        to_run = [key for key, decision in decisions.items() if decision.word == "run"]
        estimates = estimate_plan(self.plan, to_run, self.store)
        refuse_over_budget(self.plan, estimates, self.store)
        refuse_without_room(estimates, self.store)

    def _walk(self, decisions: Mapping[str, Decision], report: RunReport) -> int | None:
        run = None
        to_run = [self.plan.steps[key] for key, decision in decisions.items() if decision.word == "run"]
        if any(is_heavy(step) for step in to_run):
            self.heavy.warm_up()
        for key, decision in decisions.items():
            step = self.plan.steps[key]
            if isinstance(decision, Reuse):
                report.results[key] = self._reused(step)
                continue
            run = run or self.journal.start(self.plan.family.family)
            result = self._hindered(step, decision, report) or self._do(step)
            report.results[key] = result
            self.journal.record(run, step, self.plan.label(key), result.outcome, result.seconds, result.message)
            if result.outcome in ("done", "refused"):
                self._remember((place, key) for place in self.plan.places_of[key])
            self.reporter.step_ended(key, self.plan.label(key), result)
        return run

    def _reused(self, step: Step) -> Result:
        refusal = self._refusal(step)
        return Result("refused", message=refusal) if refusal and step.stage == "gate" else Result("reused")

    def _refusal(self, step: Step) -> str:
        artifact = self.store.find(step) if step.stage in ("gate", "card") else None
        return artifact.refusal if artifact else ""

    def _hindered(self, step: Step, decision: Decision, report: RunReport) -> Result | None:
        """Why a step cannot be run now, if so."""
        if any(isinstance(result.error, _FATAL) for result in report.results.values()):
            return Result("not run", message=_BEFORE_IT)
        if self.stop.is_set():  # and the step at hand was done all the same: that is no end in peace either
            label = self.plan.label(step.key)
            stopped = Interrupted(f"stopped before {label}", next="the same command goes on from there")
            return Result("not run", message=_BEFORE_IT, error=stopped)
        for key in step.inputs.values():
            outcome = report.results[key].outcome
            if outcome in ("failed", "stopped", "not run"):
                return Result("not run", message=f"needs {self.plan.label(key)}, which is {outcome}")
            refusal = "" if stage(step.stage).takes_refused else self._refusal(self.plan.steps[key])
            if refusal:
                return Result("stopped", message=f"{self.plan.label(key)}: {refusal}")
        return None

    def _do(self, step: Step) -> Result:
        label, started = self.plan.label(step.key), time.monotonic()
        self.reporter.step_started(step.key, label)
        try:
            artifact = self._build(step, label)
        except VariantforgeError as error:
            return Result("failed", time.monotonic() - started, error.what, error)
        refusal = artifact.refusal if step.stage == "gate" else ""
        told = refusal or (_forced(artifact) if step.stage == "gate" else "")
        return Result("refused" if refusal else "done", time.monotonic() - started, told)

    def _build(self, step: Step, label: str) -> Artifact:
        inputs = {role: self.store.verified(self.plan.steps[key]) for role, key in step.inputs.items()}
        executor = self.heavy if is_heavy(step) else self.light
        notes: list[str] = []

        def emit(event: dict[str, Any]) -> None:
            if event["kind"] == "note":
                notes.append(event["text"])
            self.reporter.event(step.key, event)

        started, clock = time.time(), time.monotonic()
        with telling_disk_errors(self.store.root), self.store.building(step) as (out, scratch):
            try:
                executor.run(Job(step, inputs, out, scratch, label), emit, self.stop.is_set)
            except (VariantforgeError, OSError, KeyboardInterrupt):
                raise
            except Exception as error:
                raise unexpected(error) from error
            made = {"started": started, "seconds": round(time.monotonic() - clock, 3), "notes": notes, "label": label}
            return self.store.commit(step, out, made)

    def _remember(self, standing: Iterable[tuple[Place, str]]) -> None:
        """Notes which artifacts stand at which places now: what the next plan names changes against."""
        steps = [(place, self.plan.steps[key]) for place, key in standing]
        if steps:
            rows = [(place, step, self._refusal(step)) for place, step in steps]
            self.journal.use(self.plan.family.family, rows)


def _forced(artifact: Artifact) -> str:
    """What the journal says of a gate whose refusal somebody overrode."""
    forced = artifact.facts.get("forced")
    return f"forced: {forced['reason']} (refused: {forced['refusal']})" if forced else ""


def is_heavy(step: Step) -> bool:
    """Whether a step has a process of its own: its stage imports torch, or the step says so itself (a teacher)."""
    return stage(step.stage).heavy or bool(step.hints.get("heavy"))


def run_plan(
    plan: Plan,
    store: Store,
    *,
    selected: frozenset[str] | None = None,
    reporter: Reporter | None = None,
    heavy: Callable[[], Executor] = Isolated,
) -> RunReport:
    """Does what of a plan is not done yet. The report says what became of every step."""
    executor = heavy()
    try:
        runner = Runner(plan, store, Journal(store.root / "journal.sqlite"), executor, reporter=reporter or Silent())
        return runner.run(selected)
    finally:
        executor.close()
