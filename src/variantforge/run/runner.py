"""Walks a plan: reuse, do, record. A failure stops its dependents only; a kill at any instant loses nothing.

Steps whose inputs are there are at work side by side, as many as ``schedule`` admits. Heavy ones have processes of
their own, so one loop in one thread attends to all of them: it begins what may begin, waits until one of those at
work has something to tell, and goes on with them.
"""

from __future__ import annotations

import multiprocessing.connection
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from variantforge.errors import Interrupted, KilledForMemory
from variantforge.plan.build import Plan
from variantforge.plan.estimate import estimate_plan, refuse_over_budget, refuse_without_room
from variantforge.plan.estimate.machine import cores
from variantforge.plan.explain import Decision, Reuse, explain
from variantforge.plan.walls import refuse_without_walls
from variantforge.run.doing import Work, Workshop, is_heavy
from variantforge.run.executor import Executor, Waits
from variantforge.run.inline import Inline
from variantforge.run.isolated import Isolated
from variantforge.run.results import FATAL, Reporter, Result, RunReport, Silent
from variantforge.run.schedule import Schedule
from variantforge.run.stopping import stop_on_signals
from variantforge.stages import Place, stage
from variantforge.step import Step
from variantforge.store.artifacts import Store
from variantforge.store.journal import Journal

_BEFORE_IT = "the run was stopped before it"
_LOOK_S = 0.2  # between two looks whether the run is to be stopped


@dataclass
class Runner:
    """One walk over a plan. ``heavy`` is where steps that import torch run; ``parallel``: how many steps are at work at
    once at most, where that is not left to cores and memory."""

    plan: Plan
    store: Store
    journal: Journal
    heavy: Executor
    light: Executor = field(default_factory=Inline)
    reporter: Reporter = field(default_factory=Silent)
    stop: threading.Event = field(default_factory=threading.Event)
    parallel: int | None = None
    _results: dict[str, Result] = field(default_factory=dict, init=False)
    _waiting: dict[str, None] = field(default_factory=dict, init=False)  # keys, in the plan's order
    _at_work: dict[str, Work] = field(default_factory=dict, init=False)
    _awaited: dict[str, Waits] = field(default_factory=dict, init=False)  # what each of those waits for
    _shared: set[str] = field(default_factory=set, init=False)  # keys of steps that were at work beside others
    _met_what_is_fatal: bool = field(default=False, init=False)
    _run: int | None = field(default=None, init=False)  # its number in the journal, once there is something to record

    def __post_init__(self) -> None:
        self._workshop = Workshop(self.plan, self.store, self.heavy, self.light, self.reporter, self.stop.is_set)
        self._schedule = Schedule(self.plan, self.store, self.parallel or cores())

    def run(self, selected: frozenset[str] | None = None) -> RunReport:
        """Raises Locked when another process works on the store, OutOfBudget or OutOfSpace before anything is run where
        that would not fit; every other failure is in the report."""
        with self.store.locked(), stop_on_signals(self.stop):
            used = self.journal.used(self.plan.family.family)
            decisions = explain(self.plan, self.store, used, selected)
            self._refuse_what_does_not_fit(decisions)
            self.reporter.start(self.plan, decisions)
            started = time.monotonic()
            self._remember(
                (place, key)
                for place, key in self.plan.places.items()
                if isinstance(decisions.get(key), Reuse) and (place not in used or used[place].key != key)
            )
            self._walk(decisions)
            report = RunReport({key: self._results[key] for key in decisions}, time.monotonic() - started)
            if self._run is not None:
                self.journal.end(self._run, type(report.error).__name__ if report.error else "done")
            return report

    def _refuse_what_does_not_fit(self, decisions: Mapping[str, Decision]) -> None:
        """Raises OutOfBudget, OutOfSpace or SandboxMissing before anything is run."""
        to_run = [key for key, decision in decisions.items() if decision.word == "run"]
        estimates = estimate_plan(self.plan, to_run, self.store)
        refuse_over_budget(self.plan, estimates, self.store)
        refuse_without_room(estimates, self.store)
        refuse_without_walls(self.plan, to_run)

    # --- the walk -------------------------------------------------------------------------------------------------

    def _walk(self, decisions: Mapping[str, Decision]) -> None:
        """Until every step has its result."""
        reused = [self.plan.steps[key] for key, decision in decisions.items() if isinstance(decision, Reuse)]
        self._results = {step.key: self._reused(step) for step in reused}
        self._waiting = dict.fromkeys(key for key in decisions if key not in self._results)
        if any(is_heavy(self.plan.steps[key]) for key in self._waiting if decisions[key].word == "run"):
            self.heavy.warm_up()
        try:
            self._begin()
            while self._at_work:
                if self._attend():
                    self._begin()
        finally:
            for work in self._at_work.values():
                work.close()

    def _begin(self) -> None:
        """Begins what may begin of what waits, first things first, and settles what shall not be run.

        When the run is to end, nothing more is begun; those at work end first, since it is theirs to say why.
        """
        for key in list(self._waiting):
            step = self.plan.steps[key]
            if self._at_work and (self._met_what_is_fatal or self.stop.is_set()):
                return
            if not all(needed in self._results for needed in step.inputs.values()):
                continue
            if hindrance := self._hindrance(step):
                self._settle(key, hindrance)
            elif self._schedule.admits(step, self._at_work):
                del self._waiting[key]
                self._row()
                self._at_work[key] = self._workshop.do(step)
                self._shared.update(self._at_work if len(self._at_work) > 1 else ())
                self._go_on(key)

    def _attend(self) -> bool:
        """Waits until one of the steps at work has something to tell, and lets them go on; True when one has ended."""
        awaited = {one for waits in self._awaited.values() for one in waits}  # several may wait for one thing
        multiprocessing.connection.wait(list(awaited), timeout=_LOOK_S)
        ended = [self._go_on(key) for key in list(self._at_work)]
        return any(ended)

    def _go_on(self, key: str) -> bool:
        """Lets a step work until it has to wait; True when it has ended instead. Light steps never wait."""
        try:
            self._awaited[key] = next(self._at_work[key])
            return False
        except StopIteration as end:
            del self._at_work[key]
            self._awaited.pop(key, None)
            if isinstance(end.value.error, KilledForMemory) and key in self._shared:
                self._put_back(key)
            else:
                self._settle(key, end.value)
            return True

    def _put_back(self, key: str) -> None:
        """Once more, and alone: what was thought to fit beside others did not. That costs time, and not the run."""
        note = "killed for its memory beside others: done again, alone"
        self.reporter.event(key, {"kind": "note", "text": note})
        self._shared.remove(key)
        self._schedule.leave_alone(key)
        self._waiting = {one: None for one in self.plan.steps if one in self._waiting or one == key}

    def _settle(self, key: str, result: Result) -> None:
        """Takes down how a step ended, or why it was not begun."""
        self._waiting.pop(key, None)
        step, label = self.plan.steps[key], self.plan.label(key)
        self._results[key] = result
        self._met_what_is_fatal |= isinstance(result.error, FATAL)
        self.journal.record(self._row(), step, label, result.outcome, result.seconds, result.message)
        if result.outcome in ("done", "refused"):
            self._remember((place, key) for place in self.plan.places_of[key])
        self.reporter.step_ended(key, label, result)

    def _row(self) -> int:
        """This run's in the journal, which has none of runs that found nothing to do."""
        self._run = self._run or self.journal.start(self.plan.family.family)
        return self._run

    def _hindrance(self, step: Step) -> Result | None:
        """Why a step shall not be begun, if so; all that it needs has its result."""
        if self._met_what_is_fatal:
            return Result("not run", message=_BEFORE_IT)
        if self.stop.is_set():  # and what was at work was done all the same: that is no end in peace either
            label = self.plan.label(step.key)
            stopped = Interrupted(f"stopped before {label}", next="the same command goes on from there")
            return Result("not run", message=_BEFORE_IT, error=stopped)
        for key in step.inputs.values():
            outcome = self._results[key].outcome
            if outcome in ("failed", "stopped", "not run"):
                return Result("not run", message=f"needs {self.plan.label(key)}, which is {outcome}")
            refusal = "" if stage(step.stage).takes_refused else self._refusal(self.plan.steps[key])
            if refusal:
                return Result("stopped", message=f"{self.plan.label(key)}: {refusal}")
        return None

    def _reused(self, step: Step) -> Result:
        refusal = self._refusal(step)
        return Result("refused", message=refusal) if refusal and step.stage == "gate" else Result("reused")

    def _refusal(self, step: Step) -> str:
        artifact = self.store.find(step) if step.stage in ("gate", "card") else None
        return artifact.refusal if artifact else ""

    def _remember(self, standing: Iterable[tuple[Place, str]]) -> None:
        """Notes which artifacts stand at which places now: what the next plan names changes against."""
        steps = [(place, self.plan.steps[key]) for place, key in standing]
        if steps:
            rows = [(place, step, self._refusal(step)) for place, step in steps]
            self.journal.use(self.plan.family.family, rows)


def run_plan(
    plan: Plan,
    store: Store,
    *,
    selected: frozenset[str] | None = None,
    reporter: Reporter | None = None,
    heavy: Callable[[], Executor] = Isolated,
    parallel: int | None = None,
) -> RunReport:
    """Does what of a plan is not done yet. The report says what became of every step.

    ``parallel``: how many steps are at work at once at most (1: one after another); None: as many as there are cores.
    Memory bounds it too.
    """
    executor = heavy()
    try:
        journal, told = Journal(store.root / "journal.sqlite"), reporter or Silent()
        return Runner(plan, store, journal, executor, reporter=told, parallel=parallel).run(selected)
    finally:
        executor.close()
