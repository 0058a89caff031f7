"""Killed (SIGKILL) at 37 points of a run of 24 steps, it ends with the same losses and the same bytes.

The points: after each of the 24 steps; at eight places inside the writing of a checkpoint; between the micro-batches of
three steps; and twice in the evaluation of what was trained.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.forks import forks_of
from tests.stages.train.lab import Lab, adapter_bytes, losses, sums
from variantforge import fsops
from variantforge.step import Artifact, Step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]

# 2 epochs of 23 rows, two at a time: 12 steps an epoch, of which the last has one row. A checkpoint every third step.
ARGS = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "num_train_epochs": 2}
ADAPTER = {"dropout": 0.1, "r": 4}  # dropout draws random numbers at each step: a generator not restored shows
STEPS = [f"step {number}" for number in range(1, 25)]
SAVING = [f"saving {number}" for number in range(1, 9)]
BETWEEN = [f"between {number}" for number in (1, 13, 23)]
EVALUATING = ["evaluating 1", "evaluating 3"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_until(lab: Lab, step: Step, point: str) -> None:
    """In a process of its own: trains, and dies at the point."""
    import torch

    from variantforge.stages.train.trainer import Careful

    torch.set_num_threads(1)
    kind, number = point.split()[0], int(point.split()[1])
    events: Callable[[dict[str, Any]], None] = lambda event: None  # noqa: E731
    if kind == "step":

        def events(event: dict[str, Any]) -> None:
            if event.get("unit") == "step" and event["done"] == number and event["metrics"].get("loss"):
                die()

    if kind == "saving":  # the crossings of the third checkpoint: its folder, its files, its move, its place
        counted = [0]
        save = Careful._save_checkpoint

        def cross(name: str, path: Path) -> None:
            counted[0] += 1
            if counted[0] == number:
                die()

        def saving(self: Careful, *args: Any) -> None:
            fsops.crossing = cross if self.state.global_step == 9 else fsops.crossing
            save(self, *args)
            if self.state.global_step == 9:
                die()  # fewer crossings than this: between the checkpoint and the next step

        Careful._save_checkpoint = saving  # type: ignore[method-assign]
    if kind == "between":
        count = Careful.count

        def counting(self: Careful, inputs: Any) -> tuple[int, int]:
            if self.state.global_step == number - 1 and self._micro_losses:
                die()
            return count(self, inputs)

        Careful.count = counting  # type: ignore[method-assign]
    lab.train(step, point.replace(" ", "-"), emit=events)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("points"), tiny_llama)


@pytest.fixture(scope="module")
def undisturbed(lab: Lab) -> Artifact:
    return lab.train(lab.step(ADAPTER, **ARGS), "undisturbed")


def killed(work: Callable[..., None], *args: Any) -> None:
    process = forks_of("variantforge.run.heavy", "tests.stages.train.test_points").Process(target=work, args=args)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("point", [*STEPS, *SAVING, *BETWEEN])
def test_a_training_goes_on_as_if_nothing_had_happened(lab: Lab, undisturbed: Artifact, point: str) -> None:
    step = lab.step(ADAPTER, **ARGS)
    killed(train_until, lab, step, point)
    lab.events.clear()
    trained = lab.train(step, point.replace(" ", "-"))
    assert len(losses(trained)) == 24
    assert losses(trained) == losses(undisturbed)
    assert adapter_bytes(trained) == adapter_bytes(undisturbed)
    assert trained.facts == undisturbed.facts
    kept = [note for note in lab.notes if note.startswith("going on from checkpoint-")]
    assert len(kept) == (point not in ("step 1", "step 2", "step 3", "between 1"))


def evaluate(lab: Lab, place: str, emit: Callable[[dict[str, Any]], None]) -> Artifact:
    from variantforge.stages.evaluate.stage import STAGE

    inputs = {"model": lab.base, "data": lab.data}
    step = Step("evaluate", 1, "perplexity", {}, {role: one.key for role, one in inputs.items()})
    return do_step(STAGE, step, lab.root / place, inputs, emit=emit)


def evaluate_until(lab: Lab, point: str) -> None:
    def events(event: dict[str, Any]) -> None:
        if event.get("unit") == "example" and event["done"] >= int(point.split()[1]):
            die()

    evaluate(lab, point.replace(" ", "-"), events)


@pytest.mark.parametrize("point", EVALUATING)
def test_an_evaluation_ends_with_the_same_figures(lab: Lab, point: str) -> None:
    import shutil

    killed(evaluate_until, lab, point)
    place = lab.root / point.replace(" ", "-")
    shutil.rmtree(place / "evaluate")  # what the store sweeps before a step is tried again
    whole = evaluate(lab, "evaluated", lab.events.append) if not (lab.root / "evaluated").exists() else None
    again = evaluate(lab, place.name, lab.events.append)
    if whole is not None:
        assert (whole.path / "metrics.json").read_bytes() == (again.path / "metrics.json").read_bytes()
    assert len(sums(6)) == again.facts["examples"]


def test_there_are_37_points() -> None:
    assert len({*STEPS, *SAVING, *BETWEEN, *EVALUATING}) == 37
