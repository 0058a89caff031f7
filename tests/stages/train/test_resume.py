"""A kill at any step loses nothing: the adapter's bytes and the losses are those of an undisturbed run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stages.train.lab import Lab, adapter_bytes, losses
from variantforge.errors import Interrupted
from variantforge.step import Artifact

# Dropout draws random numbers at each step, so a generator that is not restored shows.
ADAPTER = {"dropout": 0.1, "r": 4}

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


class Killed(BaseException):
    pass


def killer(at: int) -> Any:
    def emit(event: dict[str, Any]) -> None:
        if event.get("unit") == "step" and event["done"] == at and event["metrics"].get("loss"):
            raise Killed

    return emit


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("resume"), tiny_llama)


@pytest.fixture(scope="module")
def undisturbed(lab: Lab) -> Artifact:
    return lab.train(lab.step(ADAPTER), "undisturbed")


@pytest.mark.parametrize("at", [3, 7])  # 6 | 7: the border of the epochs; every point is in test_points
def test_a_killed_run_ends_with_the_same_bytes(lab: Lab, undisturbed: Artifact, at: int) -> None:
    step = lab.step(ADAPTER)
    with pytest.raises(Killed):
        lab.train(step, f"killed-{at}", emit=killer(at))
    trained = lab.train(step, f"killed-{at}")
    assert losses(trained) == losses(undisturbed)
    assert adapter_bytes(trained) == adapter_bytes(undisturbed)
    assert trained.facts == undisturbed.facts


@pytest.mark.slow
def test_killed_over_and_over_it_still_ends_with_the_same_bytes(lab: Lab, undisturbed: Artifact) -> None:
    step = lab.step(ADAPTER)
    for at in (5, 9, 12):
        with pytest.raises(Killed):
            lab.train(step, "often", emit=killer(at))
    assert adapter_bytes(lab.train(step, "often")) == adapter_bytes(undisturbed)


def test_a_damaged_checkpoint_is_passed_over_with_a_note(lab: Lab, undisturbed: Artifact) -> None:
    step = lab.step(ADAPTER)
    with pytest.raises(Killed):
        lab.train(step, "damaged", emit=killer(7))
    places = sorted((lab.root / "damaged" / "scratch" / step.key / "checkpoints").iterdir())
    assert [place.name for place in places] == ["checkpoint-4", "checkpoint-6"]
    weights = places[-1] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    lab.events.clear()
    trained = lab.train(step, "damaged")
    assert lab.notes == [
        "checkpoint-6 cannot be used (weights.safetensors is not what was written); going back to the one before it",
        "going on from checkpoint-4",
    ]
    assert adapter_bytes(trained) == adapter_bytes(undisturbed)


def test_a_request_to_stop_saves_at_once_and_goes_on_from_there(lab: Lab, undisturbed: Artifact) -> None:
    step, polls = lab.step(ADAPTER), iter([False] * 5 + [True] * 99)
    with pytest.raises(Interrupted, match="stopped at step 5 of 12"):
        lab.train(step, "stopped", stopping=lambda: next(polls))
    lab.events.clear()
    trained = lab.train(step, "stopped")
    assert lab.notes == ["going on from checkpoint-5"]
    assert adapter_bytes(trained) == adapter_bytes(undisturbed)


@pytest.mark.slow
def test_packed_rows_resume_too(lab: Lab) -> None:
    step = lab.step(ADAPTER, packing=True, max_length=96)
    whole = lab.train(step, "packed")
    with pytest.raises(Killed):
        lab.train(step, "packed-killed", emit=killer(whole.facts["steps"] - 1))
    assert adapter_bytes(lab.train(step, "packed-killed")) == adapter_bytes(whole)


def test_checkpoints_hold_no_pickle(lab: Lab) -> None:
    step = lab.step(ADAPTER)
    with pytest.raises(Killed):
        lab.train(step, "looked-into", emit=killer(7))
    for path in (lab.root / "looked-into" / "scratch" / step.key).rglob("*"):
        if path.is_file():
            assert path.suffix in (".safetensors", ".json")
            if path.suffix == ".json":
                json.loads(path.read_text())


SIGKILLED = """
import os, signal, sys
from pathlib import Path
from tests.stages.train.lab import Lab
import variantforge.stages.train.checkpoints as checkpoints
lab = Lab.__new__(Lab)
lab.__dict__.update(__import__("pickle").loads(bytes.fromhex(sys.argv[1])))
at = sys.argv[2]
if at.startswith("saving"):  # in the middle of writing a checkpoint: after its files, before its place is taken
    whole, calls = checkpoints.move_in, []
    def move_in(built, target):
        calls.append(target)
        if len(calls) == int(at.removeprefix("saving")):
            os.kill(os.getpid(), signal.SIGKILL)
        whole(built, target)
    checkpoints.move_in = move_in
def emit(event):
    if event.get("unit") == "step" and str(event["done"]) == at:
        os.kill(os.getpid(), signal.SIGKILL)
lab.train(lab.step({"dropout": 0.1, "r": 4}), "sigkilled-" + at, emit=emit)
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", ["5", "saving3"])
def test_kill_minus_nine_loses_nothing(lab: Lab, undisturbed: Artifact, at: str) -> None:
    import pickle

    told = pickle.dumps({"root": lab.root, "base": lab.base, "data": lab.data, "events": []}).hex()
    died = subprocess.run([sys.executable, "-c", SIGKILLED, told, at], check=False, capture_output=True)
    assert died.returncode == -9, died.stderr.decode()[-2000:]
    lab.events.clear()
    trained = lab.train(lab.step(ADAPTER), f"sigkilled-{at}")
    assert lab.notes == ["going on from checkpoint-4"]
    assert adapter_bytes(trained) == adapter_bytes(undisturbed)
