"""How a plan is walked: reuse, failure, refusal, interruption. The stages here are toys; store and journal are real."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.run.toys import Toy, toy, toy_plan
from variantforge.errors import DataError, IntegrityError, Interrupted, OutOfSpace
from variantforge.plan.build import Plan
from variantforge.plan.explain import Blocked, Reuse, Run, explain
from variantforge.run.inline import Inline
from variantforge.run.results import RunReport
from variantforge.run.runner import run_plan
from variantforge.stages import STAGES
from variantforge.store.artifacts import Store
from variantforge.store.journal import Journal


@pytest.fixture
def actions() -> dict[str, Callable[[], None]]:
    return {}


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, actions: dict[str, Callable[[], None]]) -> dict[str, Toy]:
    stages = {name: Toy(name, actions, takes_refused=name == "card") for name in ("train", "gate", "card", "publish")}
    for name, stage in stages.items():
        monkeypatch.setitem(STAGES._loaded, name, stage)
    return stages


def apply(plan: Plan, folder: Path) -> RunReport:
    return run_plan(plan, Store(folder), heavy=Inline)


def outcomes(plan: Plan, report: RunReport) -> dict[str, str]:
    return {str(plan.steps[key].params["name"]): result.outcome for key, result in report.results.items()}


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_a_second_run_does_nothing(toys: dict[str, Toy], tmp_path: Path) -> None:
    plan = toy_plan(a := toy("a"), toy("b", a))
    assert outcomes(plan, apply(plan, tmp_path)) == {"a": "done", "b": "done"}
    assert outcomes(plan, apply(plan, tmp_path)) == {"a": "reused", "b": "reused"}
    assert toys["train"].done == ["a", "b"]


def test_a_run_is_noted_before_its_first_step_begins(toys, actions, tmp_path: Path) -> None:
    journal, seen = Journal(tmp_path / "journal.sqlite"), list[dict[str, Any]]()
    plan = toy_plan(toy("a"))
    actions["a"] = lambda: seen.extend(journal.runs())
    apply(plan, tmp_path)
    assert [(run["ended"], run["outcome"]) for run in seen] == [(None, None)]
    assert [run["outcome"] for run in journal.runs()] == ["done"]
    apply(plan, tmp_path)
    assert len(journal.runs()) == 1


def test_a_failure_stops_its_dependents_only(toys: dict[str, Toy], actions, tmp_path: Path) -> None:
    plan = toy_plan(a := toy("a"), b := toy("b", a), toy("c", b), toy("d"))
    actions["a"] = raising(DataError("line 3 is not JSON"))
    report = apply(plan, tmp_path)
    assert outcomes(plan, report) == {"a": "failed", "b": "not run", "c": "not run", "d": "done"}
    assert isinstance(report.error, DataError)
    actions.clear()
    assert outcomes(plan, apply(plan, tmp_path)) == {"a": "done", "b": "done", "c": "done", "d": "reused"}


def test_an_unforeseen_failure_is_told_with_its_lines_and_stops_nothing_else(toys, actions, tmp_path: Path) -> None:
    plan = toy_plan(toy("a"), toy("b"))
    actions["a"] = raising(ZeroDivisionError("by zero"))
    report = apply(plan, tmp_path)
    assert outcomes(plan, report) == {"a": "failed", "b": "done"}
    assert "ZeroDivisionError: by zero" in str(report.error)


@pytest.mark.parametrize("error", [OutOfSpace("disk full"), Interrupted("stop"), IntegrityError("bytes changed")])
def test_what_would_meet_every_step_stops_the_run(toys, actions, tmp_path: Path, error) -> None:
    plan = toy_plan(toy("a"), toy("b"))
    actions["a"] = raising(error)
    report = apply(plan, tmp_path)
    assert outcomes(plan, report) == {"a": "failed", "b": "not run"}
    assert type(report.error) is type(error)


def test_a_wish_to_stop_is_no_success_although_the_step_at_hand_is_done(toys, actions, tmp_path: Path) -> None:
    plan = toy_plan(toy("a"), toy("b"), toy("c"))
    actions["a"] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    report = apply(plan, tmp_path)
    assert outcomes(plan, report) == {"a": "done", "b": "not run", "c": "not run"}
    assert isinstance(report.error, Interrupted)
    actions.clear()
    assert apply(plan, tmp_path).error is None


def test_a_full_disk_while_a_stage_writes_is_named(toys, actions, tmp_path: Path) -> None:
    plan = toy_plan(toy("a"))
    actions["a"] = raising(OSError(28, "No space left on device"))
    assert isinstance(apply(plan, tmp_path).error, OutOfSpace)


def test_a_refusal_stops_what_ships_and_ends_with_code_3_each_time(toys, tmp_path: Path) -> None:
    gate = toy("gate", stage="gate", refusal="loss is worse by 0.4")
    plan = toy_plan(gate, card := toy("card", gate, stage="card"), toy("publish", gate, stage="publish"))
    report = apply(plan, tmp_path)
    assert outcomes(plan, report) == {"gate": "refused", "card": "done", "publish": "stopped"}
    assert report.error is not None
    assert report.error.exit_code == 3
    assert "loss is worse by 0.4" in str(report.error)
    again = apply(plan, tmp_path)
    assert outcomes(plan, again) == {"gate": "refused", "card": "reused", "publish": "stopped"}
    assert again.error is not None
    assert card.key in explain(plan, Store(tmp_path))


def test_plan_says_what_a_refusal_blocks(toys, tmp_path: Path) -> None:
    gate = toy("gate", stage="gate", refusal="loss is worse by 0.4")
    plan = toy_plan(gate, publish := toy("publish", gate, stage="publish"), after := toy("after", publish))
    apply(plan, tmp_path)
    decisions = explain(plan, Store(tmp_path))
    assert isinstance(decisions[gate.key], Reuse)
    assert decisions[publish.key] == Blocked("gate a gate: loss is worse by 0.4")
    assert isinstance(decisions[after.key], Blocked)


def test_a_stale_artifact_is_made_again(toys: dict[str, Toy], tmp_path: Path) -> None:
    plan = toy_plan(step := toy("a", stage="publish"))
    apply(plan, tmp_path)
    toys["publish"].gone.add("a")
    assert explain(plan, Store(tmp_path))[step.key] == Run("somebody removed it")
    assert outcomes(plan, apply(plan, tmp_path)) == {"a": "done"}


def test_damaged_input_bytes_stop_the_run_and_the_next_run_mends(toys, tmp_path: Path) -> None:
    a = toy("a")
    apply(toy_plan(a), tmp_path)
    (tmp_path / "train" / a.key / "text").write_text("bit rot")
    plan = toy_plan(a, toy("b", a))
    report = apply(plan, tmp_path)
    assert isinstance(report.error, IntegrityError)
    assert outcomes(plan, report) == {"a": "reused", "b": "failed"}
    assert outcomes(plan, apply(plan, tmp_path)) == {"a": "done", "b": "done"}


def test_plan_names_the_fields_that_changed(toys, tmp_path: Path) -> None:
    a = toy("a", lr=1e-4)
    apply(toy_plan(a, toy("b", a)), tmp_path)
    changed = toy("a", lr=2e-4, rank=8)
    plan = toy_plan(changed, follower := toy("b", changed), new := toy("c"))
    decisions = explain(plan, Store(tmp_path), Journal(tmp_path / "journal.sqlite").used("toy"))
    assert decisions[changed.key] == Run("lr: 0.0001 → 0.0002; rank: default → 8")
    assert decisions[follower.key].reason.startswith("follows")
    assert decisions[new.key] == Run("new")


def test_only_what_was_selected_runs(toys, tmp_path: Path) -> None:
    plan = toy_plan(a := toy("a"), toy("b", a), toy("c"))
    report = run_plan(plan, Store(tmp_path), selected=frozenset({a.key}), heavy=Inline)
    assert outcomes(plan, report) == {"a": "done"}


def test_what_only_feeds_finished_steps_is_not_made_again(toys: dict[str, Toy], tmp_path: Path) -> None:
    plan = toy_plan(a := toy("a"), b := toy("b", a), c := toy("c", b))
    apply(plan, tmp_path)
    store = Store(tmp_path)
    for step in (a, b):
        shutil.rmtree(store.folder(step))
    assert outcomes(plan, apply(plan, tmp_path)) == {"a": "reused", "b": "reused", "c": "reused"}
    shutil.rmtree(store.folder(c))  # now it is needed, and so is all that it hangs on
    assert outcomes(plan, apply(plan, tmp_path)) == {"a": "done", "b": "done", "c": "done"}


def test_what_one_step_still_needs_is_made_although_another_has_it(toys: dict[str, Toy], tmp_path: Path) -> None:
    a = toy("a")
    apply(toy_plan(a, b := toy("b", a)), tmp_path)
    shutil.rmtree(Store(tmp_path).folder(a))
    plan = toy_plan(a, b, toy("c", a))
    assert outcomes(plan, apply(plan, tmp_path)) == {"a": "done", "b": "reused", "c": "done"}
