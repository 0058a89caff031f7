"""Several steps at work at once: who may be beside whom, and that all else is as in a run one after another."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.run.toys import Toy, ToyMerge, Turns, toy, toy_format, toy_plan
from variantforge.errors import DataError, Interrupted, KilledForMemory, OutOfSpace
from variantforge.hashing import file_digest
from variantforge.plan.plan import Plan
from variantforge.run.results import Result, RunReport, Silent
from variantforge.run.runner import run_plan
from variantforge.run.schedule import Schedule
from variantforge.stages import STAGES
from variantforge.step import Step
from variantforge.store.artifacts import Store
from variantforge.store.journal import Journal

Actions = dict[str, Callable[[], None]]


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> Actions:
    """What steps do when they are done, by name. The stages are toys; heavy ones run by turns."""
    actions: Actions = {}
    stages = {name: Toy(name, actions) for name in ("train", "quantize", "gate", "card")}
    stages["merge"] = ToyMerge("merge", actions)
    for name in ("train", "merge", "quantize"):
        stages[name].heavy = True
    for name, stage in stages.items():
        monkeypatch.setitem(STAGES._loaded, name, stage)
    return actions


def apply(plan: Plan, folder: Path, parallel: int | None = 2, told: Silent | None = None) -> tuple[RunReport, Turns]:
    turns = Turns()
    return run_plan(plan, Store(folder), heavy=lambda: turns, parallel=parallel, reporter=told), turns


def outcomes(plan: Plan, report: RunReport) -> dict[str, str]:
    return {str(plan.steps[key].params["name"]): result.outcome for key, result in report.results.items()}


def matrix() -> Plan:
    """Two variants: a training, its merge, three formats, and a gate on the first of them."""
    steps: list[Step] = []
    for variant in ("a", "b"):
        train = toy(f"train {variant}")
        merge = toy(f"merge {variant}", train, stage="merge")
        formats = [toy_format(f"{variant}{number}", merge, turns=4 - number) for number in (1, 2, 3)]
        steps += [train, merge, *formats, toy(f"gate {variant}", formats[0], stage="gate")]
    return toy_plan(*steps)


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_formats_are_made_side_by_side_and_a_training_alone(actions: Actions, tmp_path: Path) -> None:
    report, turns = apply(matrix(), tmp_path)
    assert {result.outcome for result in report.results.values()} == {"done"}
    assert max(map(len, turns.seen)) == 2
    assert {names for names in turns.seen if any("train" in name for name in names)} == {("train a",), ("train b",)}
    assert ("a1", "a2") in turns.seen


def test_one_after_another_where_that_is_asked_for(actions: Actions, tmp_path: Path) -> None:
    _, turns = apply(matrix(), tmp_path, parallel=1)
    assert all(len(names) == 1 for names in turns.seen)
    assert turns.ended == [str(step.params["name"]) for step in matrix().steps.values() if step.stage != "gate"]


def test_report_journal_and_bytes_are_those_of_a_run_one_after_another(actions: Actions, tmp_path: Path) -> None:
    actions["a2"] = raising(DataError("line 3 is not JSON"))
    plan = matrix()
    (slow, _), (fast, _) = apply(plan, tmp_path / "slow", parallel=1), apply(plan, tmp_path / "fast", parallel=3)
    assert list(slow.results) == list(fast.results) == list(plan.steps)
    assert told(slow) == told(fast)
    assert str(slow.error) == str(fast.error)
    last = [Journal(tmp_path / name / "journal.sqlite").last_outcomes() for name in ("slow", "fast")]
    assert last[0] == last[1]
    assert bytes_of(plan, Store(tmp_path / "slow")) == bytes_of(plan, Store(tmp_path / "fast"))


def told(report: RunReport) -> list[tuple[str, str, str]]:
    return [(key, result.outcome, result.message) for key, result in report.results.items()]


def bytes_of(plan: Plan, store: Store) -> dict[str, str]:
    return {
        f"{key} {path.relative_to(store.folder(step))}": file_digest(path)
        for key, step in plan.steps.items()
        for path in store.folder(step).rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def test_a_failure_beside_others_stops_its_dependents_only(actions: Actions, tmp_path: Path) -> None:
    actions["a1"] = raising(DataError("line 3 is not JSON"))
    plan = matrix()
    report, _ = apply(plan, tmp_path, parallel=3)
    found = outcomes(plan, report)
    assert (found.pop("a1"), found.pop("gate a")) == ("failed", "not run")
    assert set(found.values()) == {"done"}
    actions.clear()
    assert apply(plan, tmp_path)[0].error is None


def test_after_what_is_fatal_nothing_more_is_begun_and_what_is_at_work_ends(actions: Actions, tmp_path: Path) -> None:
    plan = matrix()
    actions["a2"] = raising(OutOfSpace("the disk is full"))  # a1 needs one turn more
    report, turns = apply(plan, tmp_path)
    found = outcomes(plan, report)
    assert (found["a1"], found["a2"], found["a3"], found["gate a"]) == ("done", "failed", "not run", "not run")
    assert {found[name] for name in found if name.endswith("b") or name.startswith("b")} == {"not run"}
    assert isinstance(report.error, OutOfSpace)
    assert "a3" not in turns.ended


class Watch(Silent):
    """Takes down how steps end; sends this process ``signals`` when the step ``name`` has gone on for a turn."""

    def __init__(self, plan: Plan, name: str = "", *signals: int) -> None:
        self.plan, self.name, self.signals = plan, name, list(signals)
        self.ended: list[str] = []

    def event(self, key: str, event: Mapping[str, Any]) -> None:
        while self.plan.steps[key].params["name"] == self.name and event["done"] and self.signals:
            os.kill(os.getpid(), self.signals.pop())

    def step_ended(self, key: str, label: str, result: Result) -> None:
        self.ended.append(f"{self.plan.steps[key].params['name']} {result.outcome}")


def test_a_stop_lets_all_that_are_at_work_save(actions: Actions, tmp_path: Path) -> None:
    plan = matrix()
    report, _ = apply(plan, tmp_path, told=Watch(plan, "a1", signal.SIGTERM))
    saved = {name for name, result in named(plan, report).items() if isinstance(result.error, Interrupted)}
    assert saved == {"a1", "a2"}
    assert {result.message for name, result in named(plan, report).items() if name in saved} == {
        "a1 has saved",
        "a2 has saved",
    }
    assert {named(plan, report)[name].outcome for name in ("a3", "gate a", "train b")} == {"not run"}
    assert isinstance(report.error, Interrupted)
    again, _ = apply(plan, tmp_path)
    assert again.error is None
    assert {named(plan, again)[name].outcome for name in ("train a", "merge a")} == {"reused"}


def named(plan: Plan, report: RunReport) -> dict[str, Result]:
    return {str(plan.steps[key].params["name"]): result for key, result in report.results.items()}


def test_a_second_signal_ends_all_that_are_at_work_at_once(actions: Actions, tmp_path: Path) -> None:
    plan, turns = matrix(), Turns()
    watch = Watch(plan, "a2", signal.SIGTERM, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, Store(tmp_path), heavy=lambda: turns, parallel=3, reporter=watch)
    assert turns.at_work == []
    assert set(turns.ended) == {"train a", "merge a", "a1", "a2", "a3"}
    assert not list((tmp_path / "quantize").iterdir())
    assert apply(plan, tmp_path)[0].error is None


def test_a_gate_is_done_while_formats_are_being_made(actions: Actions, tmp_path: Path) -> None:
    merge = toy("merge", stage="merge")
    first, last = toy_format("quick", merge, turns=1), toy_format("long", merge, turns=9)
    plan = toy_plan(merge, first, last, toy("gate", first, stage="gate"))
    watch = Watch(plan)
    apply(plan, tmp_path, told=watch)
    assert watch.ended == ["merge done", "quick done", "gate done", "long done"]


def test_what_is_killed_for_its_memory_beside_others_is_done_again_alone(actions: Actions, tmp_path: Path) -> None:
    kills = [KilledForMemory("the kernel ended it"), KilledForMemory("the kernel ended it")]

    def die() -> None:
        if kills:
            raise kills.pop()

    actions["a1"] = actions["a2"] = die
    plan = matrix()
    report, turns = apply(plan, tmp_path, parallel=3)
    assert report.error is None
    alone = [names for names in turns.seen if names in (("a1",), ("a2",))]
    assert alone == [("a1",), ("a1",), ("a2",)]  # the first of them: before the others had begun
    actions["a1"] = raising(KilledForMemory("the kernel ended it"))  # alone, too
    failed, _ = apply(plan, tmp_path / "again", parallel=3)
    assert isinstance(failed.error, KilledForMemory)
    assert outcomes(plan, failed)["a2"] == "done"


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(actions: Actions, tmp_path: Path) -> tuple[Plan, Store]:
    plan = matrix()
    apply(plan, tmp_path)
    return plan, Store(tmp_path)


def keys(plan: Plan, *names: str) -> list[str]:
    return [next(key for key, step in plan.steps.items() if step.params["name"] == name) for name in names]


def test_no_more_than_memory_holds_is_at_work(made: tuple[Plan, Store]) -> None:
    plan, store = made
    first, second, third = keys(plan, "a1", "a2", "a3")
    need = Schedule(plan, store, 8)._need(first) or 0
    assert need > 0
    for free, fitting in ((2 * need, True), (2 * need - 1, False)):
        schedule = Schedule(plan, store, 8, free=lambda free=free: free)
        assert schedule.admits(plan.steps[first], [])
        assert schedule.admits(plan.steps[second], [first]) is fitting
    schedule = Schedule(plan, store, 8, free=lambda: 2 * need)
    schedule.admits(plan.steps[first], [])
    assert not schedule.admits(plan.steps[third], [first, second])


def test_memory_that_somebody_else_has_taken_meanwhile_is_not_counted_on(made: tuple[Plan, Store]) -> None:
    plan, store = made
    first, second = keys(plan, "a1", "a2")
    free = [10**12, 1000]
    schedule = Schedule(plan, store, 8, free=lambda: free.pop(0))
    schedule.admits(plan.steps[first], [])
    assert not schedule.admits(plan.steps[second], [first])


def test_a_step_is_begun_alone_however_little_memory_is_free(made: tuple[Plan, Store]) -> None:
    plan, store = made
    (first,) = keys(plan, "a1")
    assert Schedule(plan, store, 8, free=lambda: 1).admits(plan.steps[first], [])
    unknown = Schedule(plan, store, 8, free=lambda: None)
    assert unknown.admits(plan.steps[first], [])
    assert not unknown.admits(plan.steps[keys(plan, "a2")[0]], [first])


def test_nothing_is_begun_beside_a_step_whose_memory_is_not_known(made: tuple[Plan, Store]) -> None:
    plan, store = made
    train, first, gate = keys(plan, "train b", "a1", "gate a")
    schedule = Schedule(plan, store, 8, free=lambda: 10**15)
    schedule.admits(plan.steps[train], [])
    assert not schedule.admits(plan.steps[first], [train])
    assert not schedule.admits(plan.steps[train], [first])
    assert schedule.admits(plan.steps[gate], [first])
