"""A step that the kernel kills for its memory goes on with half the micro-batch; no other kill is taken for one.

The kills are the kernel's own where a control group with a limit can be made; where not, those tests are skipped, and
what is left reads counts from files.
"""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from tests.run.cgroups import MB, limited, run_inside
from tests.run.hungry import MARK
from tests.stages.train.lab import losses
from variantforge.errors import KilledForMemory, OutOfMemory, StepError
from variantforge.run import isolated
from variantforge.run.executor import Job
from variantforge.run.isolated import Isolated
from variantforge.stages.oom_kills import OomKills
from variantforge.stages.train.smaller import ACCUMULATION, MICRO_BATCH, halved
from variantforge.step import Artifact, Step

HUNGRY = "from tests.run.hungry import main; main()"


def said(printed: str) -> list[Any]:
    return [json.loads(line) for line in printed.splitlines()]


# --- killed by the kernel -----------------------------------------------------------------------------------------


def test_it_is_halved_until_it_fits_or_is_a_single_row(tmp_path: Path) -> None:
    with limited(512 * MB) as group:
        told = said(run_inside(group, HUNGRY, "rows", tmp_path, *(8, 150), *(3, 1000)))
    tried = [text for text in told if isinstance(text, str) and text.startswith("trying")]
    assert tried == ["trying 8", "trying 4", "trying 2", "trying 3", "trying 1"]
    assert "oom_kill in /" in told[1]
    assert told[2] == (
        "out of memory with per_device_train_batch_size 8: going on with 4 and gradient_accumulation_steps 2, "
        "so that each step learns from the same 8 rows"
    )
    assert told[told.index("trying 2") + 1] == "done"
    assert [path.name for path in (tmp_path / "8").iterdir()] == ["begun with 2"]  # nothing of those killed
    kind, what, why, next = told[-1]
    assert (kind, what) == ("OutOfMemory", "memory does not suffice for a micro-batch of 1 row")
    assert why.startswith("It was the kernel, for want of memory: oom_kill in ")
    assert "activation_checkpointing" in next


@pytest.mark.slow
def test_one_of_several_processes_that_is_killed_halves_the_micro_batch_of_all(tmp_path: Path) -> None:
    with limited(700 * MB) as group:
        told = said(run_inside(group, HUNGRY, "workers", tmp_path, 8, 150))
    assert sorted(text for text in told if " tries " in text) == ["0 tries 2", "0 tries 4", "1 tries 2", "1 tries 4"]
    assert any(text.startswith("process 1 of a training by 2 was killed. It was the kernel") for text in told)
    assert (
        "out of memory with per_device_train_batch_size 4: going on with 2 and gradient_accumulation_steps 2, "
        "so that each step learns from the same 8 rows"
    ) in told
    assert told[-1] == "done"


@pytest.mark.slow
def test_a_training_goes_on_from_its_checkpoint_and_learns_the_same(tmp_path: Path, tiny_llama: Path) -> None:
    with limited(2000 * MB) as group:
        told = said(run_inside(group, HUNGRY, "trains", tmp_path, tiny_llama))
    assert told[-1] == "done", told
    undisturbed, trained = (Artifact("", tmp_path / name) for name in ("undisturbed", MARK))
    assert losses(trained) == pytest.approx(losses(undisturbed), rel=1e-4)
    assert trained.facts["steps"] == undisturbed.facts["steps"]
    assert trained.facts["out_of_memory"] == {MICRO_BATCH: 2, ACCUMULATION: 2}
    assert "out_of_memory" not in undisturbed.facts
    assert sum("oom_kill in /" in text for text in told) == 1
    assert any(text.startswith("going on from checkpoint-") for text in told)


# --- killed by somebody -------------------------------------------------------------------------------------------


class KilledJob(Job):
    """Killed at its first try. ``counted``: the kernel has counted it before."""

    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        if (self.scratch / "tried").exists():
            return
        (self.scratch / "tried").touch()
        if counts := self.step.params.get("counts"):
            Path(counts).write_text("pgfault 7\noom_kill 5\n")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a machine counts that has no groups."""
    file = tmp_path / "machine" / "proc" / "vmstat"
    file.parent.mkdir(parents=True)
    file.write_text("pgfault 6\noom_kill 4\n")
    monkeypatch.setattr(isolated, "OomKills", functools.partial(OomKills, root=tmp_path / "machine"))
    return file


def killed(tmp_path: Path, stage: str = "train", **params: Any) -> list[str]:
    """The notes of a job that is killed, in the end."""
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    params |= {"adapter": {}, "args": {MICRO_BATCH: 4, ACCUMULATION: 2}}
    events: list[dict[str, Any]] = []
    job = KilledJob(Step(stage, 1, "sft", params), {}, tmp_path / "out", tmp_path / "scratch", "it")
    for waits in Isolated(preload=[]).run(job, events.append, lambda: False):
        wait(waits, 0.2)
    return [event["text"] for event in events]


def test_a_kill_that_the_kernel_counted_is_halved(tmp_path: Path, counts: Path) -> None:
    first, second = killed(tmp_path, counts=str(counts))
    assert first.endswith(f"for want of memory: oom_kill in {counts} went from 4 to 5.")
    assert second.startswith("out of memory with per_device_train_batch_size 4: going on with 2")
    assert halved({MICRO_BATCH: 4, ACCUMULATION: 2}, tmp_path / "scratch") == {MICRO_BATCH: 2, ACCUMULATION: 4}


def test_a_kill_that_the_kernel_did_not_count_is_told_and_not_halved(tmp_path: Path, counts: Path) -> None:
    with pytest.raises(StepError, match="killed from outside") as caught:
        killed(tmp_path)
    assert caught.value.why == f"It was not the kernel for want of memory: oom_kill in {counts} stayed at 4."
    assert not halved({MICRO_BATCH: 4, ACCUMULATION: 2}, tmp_path / "scratch")


def test_without_any_count_nothing_is_guessed(tmp_path: Path, counts: Path) -> None:
    counts.unlink()
    with pytest.raises(StepError, match="killed from outside") as caught:
        killed(tmp_path)
    assert "cannot be told" in caught.value.why


def test_a_step_that_cannot_do_with_less_is_told_what_could_help(tmp_path: Path, counts: Path) -> None:
    with pytest.raises(KilledForMemory, match="memory had run out") as caught:
        killed(tmp_path, stage="merge", counts=str(counts))
    assert "more memory" in caught.value.next
    assert not isinstance(caught.value, OutOfMemory)
