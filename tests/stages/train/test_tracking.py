"""Metrics go where ``report_to`` says, and nothing else changes by it."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stages.base.desk import PlainDesk, family
from tests.stages.train.lab import Lab, adapter_bytes
from variantforge.run.executor import Job
from variantforge.run.isolated import tokens_for
from variantforge.stages.stage import Place
from variantforge.stages.train.config import trainer_config
from variantforge.stages.train.stage import STAGE
from variantforge.stages.train.tracking import RUNS, TRACKERS, Tracker, lasting_folders
from variantforge.step import Step, StepContext

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


def planned(folder: Path, **args: Any) -> PlainDesk:
    spec = family("./b", {"v": {"train": {"args": args}}})
    desk = PlainDesk(spec, folder, at_key="variants.v")
    desk.add(Place("base", "v"), Step("base", 1, "folder"))
    desk.add(Place("data", "v", "mix"), Step("data", 1, "mix"))
    STAGE.plan(desk, "v", spec.variants["v"])
    return desk


def step_of(folder: Path, **args: Any) -> Step:
    return planned(folder, **args).steps[Place("train", "v")]


# --- planning -----------------------------------------------------------------------------------------------------


def test_where_metrics_go_changes_no_key(tmp_path: Path) -> None:
    tracked = {"report_to": ["tensorboard"], "run_name": "tuesday", "project": "mine", "trackio_space_id": "me/runs"}
    assert step_of(tmp_path, **tracked, seed=1).key == step_of(tmp_path, seed=1).key
    assert step_of(tmp_path, **tracked, seed=1).params == step_of(tmp_path, seed=1).params


def test_a_run_is_named_by_family_and_variant_unless_the_user_names_it(tmp_path: Path) -> None:
    told = step_of(tmp_path, report_to="tensorboard").hints
    assert told["tracking"] == {"run_name": "f v", "project": "f", "report_to": "tensorboard"}
    assert told[RUNS] == str(tmp_path / "runs" / "f" / "v")
    assert step_of(tmp_path, report_to="tensorboard", run_name="mine").hints["tracking"]["run_name"] == "mine"
    assert not step_of(tmp_path).hints


def test_what_is_said_of_tracking_reaches_trls_config(tmp_path: Path) -> None:
    step = step_of(tmp_path, report_to="tensorboard", run_name="mine", project="ours")
    context = StepContext(step=step, inputs={}, out=tmp_path, scratch=tmp_path)
    config = trainer_config(context, family("./b").variants["v"].train.adapter, "cpu")
    assert (config.report_to, config.run_name, config.project) == (["tensorboard"], "mine", "ours")
    silent = StepContext(step=step_of(tmp_path), inputs={}, out=tmp_path, scratch=tmp_path)
    assert trainer_config(silent, family("./b").variants["v"].train.adapter, "cpu").report_to == []


def test_a_tracker_that_is_unknown_or_missing_is_told_while_planning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "wandb", Tracker(("a_module_that_nobody_has",)))
    told = planned(tmp_path, report_to=["wandb", "tensorbord", "none"]).problems
    key = "variants.v.train.args.report_to"
    assert told == [
        (key, "the tracker 'wandb' is not installed: pip install a_module_that_nobody_has"),
        (key, "unknown tracker 'tensorbord'. Did you mean 'tensorboard'?"),
    ]


# --- running ------------------------------------------------------------------------------------------------------


def reporting(lab: Lab, report_to: str) -> Step:
    hints = {"tracking": {"report_to": report_to, "run_name": "f v", "project": "f"}, RUNS: str(lab.root / "runs")}
    return dataclasses.replace(lab.step(max_steps=2), hints=hints)


def test_tensorboard_finds_its_events_in_a_folder_that_lasts(tmp_path: Path, tiny_llama: Path) -> None:
    pytest.importorskip("tensorboardX")
    lab = Lab(tmp_path, tiny_llama)
    trained = lab.train(reporting(lab, "tensorboard"))
    (events,) = (tmp_path / "runs").glob("events.out.tfevents.*")
    told = events.read_bytes()
    assert all(name in told for name in (b"train/loss", b"train/grad_norm", b"train/tokens_per_s"))
    assert not list(tmp_path.glob("run/scratch/**/*tfevents*"))
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ
    assert adapter_bytes(trained) == adapter_bytes(lab.train(lab.step(max_steps=2), "silent"))
    assert (trained.path / "events.jsonl").exists()


def test_trackio_writes_its_database_on_this_machine(
    tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)  # it reads its folder once, when it is imported
    pytest.importorskip("trackio")
    import sqlite3

    lab = Lab(tmp_path, tiny_llama)
    lab.train(reporting(lab, "trackio"))
    (database,) = (tmp_path / "trackio").glob("f*.db")
    with sqlite3.connect(database) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM metrics WHERE run_name = 'f v'").fetchone()
    assert rows >= 2


def test_the_users_own_choice_of_folder_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_of(tmp_path, report_to="tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "/mine")
    with lasting_folders(step):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == "/mine"
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR")
    with lasting_folders(step):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "runs" / "f" / "v")
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


# --- credentials --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "names"),
    [
        ({}, []),
        ({"report_to": "none"}, []),
        ({"report_to": "tensorboard"}, []),
        ({"report_to": ["tensorboard", "wandb"]}, ["WANDB_API_KEY"]),
        ({"report_to": "mlflow"}, ["MLFLOW_TRACKING_TOKEN"]),
        ({"report_to": "trackio"}, []),  # its runs stay on this machine
        ({"report_to": "trackio", "trackio_space_id": "me/runs"}, ["HF_TOKEN"]),
    ],
)
def test_only_a_step_that_reports_to_a_tracker_is_given_its_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], names: list[str]
) -> None:
    for name in ("HF_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, f"canary-of-{name}")
    for tracker in list(TRACKERS):
        monkeypatch.setitem(TRACKERS, tracker, dataclasses.replace(TRACKERS[tracker], modules=("json",)))
    step = step_of(tmp_path, **args)
    job = Job(step=step, inputs={}, out=tmp_path, scratch=tmp_path, label="")
    assert tokens_for(job) == {name: f"canary-of-{name}" for name in names}
