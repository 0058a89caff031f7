"""Memory does not suffice: the micro-batch is halved, the experiment stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.train.lab import Lab, losses
from variantforge.errors import OutOfMemory
from variantforge.stages.train.smaller import halve, halved, is_out_of_memory
from variantforge.stages.train.trainer import Careful
from variantforge.step import Artifact, Step, StepContext

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
ARGS = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "bf16": False}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("smaller"), tiny_llama)


@pytest.fixture(scope="module")
def undisturbed(lab: Lab) -> Artifact:
    return lab.train(lab.step(**ARGS), "undisturbed")


def too_large(monkeypatch: pytest.MonkeyPatch, above: int, at_step: int = 0) -> None:
    """From ``at_step`` on, micro-batches of more than ``above`` rows ask for more memory than there is."""
    import torch

    step = Careful.training_step

    def training_step(self: Careful, model: object, inputs: dict[str, torch.Tensor], *args: object) -> object:
        if self.state.global_step >= at_step and len(inputs["input_ids"]) > above:
            torch.empty(1 << 55, dtype=torch.uint8)  # torch's own error, from its own allocator
        return step(self, model, inputs, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Careful, "training_step", training_step)


def test_torchs_own_errors_are_recognised() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


@pytest.mark.parametrize("at_step", [7, pytest.param(0, marks=pytest.mark.slow)])
def test_half_the_micro_batch_and_twice_the_accumulation_learn_the_same(
    lab: Lab, undisturbed: Artifact, monkeypatch: pytest.MonkeyPatch, at_step: int
) -> None:
    too_large(monkeypatch, above=2, at_step=at_step)
    lab.events.clear()
    trained = lab.train(lab.step(**ARGS), f"halved-{at_step}")
    assert losses(trained) == pytest.approx(losses(undisturbed), rel=1e-4)
    assert trained.facts["steps"] == undisturbed.facts["steps"]
    assert trained.facts["out_of_memory"] == {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    assert "out_of_memory" not in undisturbed.facts
    assert [note for note in lab.notes if note.startswith("out of memory")] == [
        "out of memory with per_device_train_batch_size 4: going on with 2 and gradient_accumulation_steps 2, "
        "so that each step learns from the same 4 rows"
    ]
    assert any(note.startswith("going on from checkpoint-") for note in lab.notes) == (at_step > 0)


@pytest.mark.parametrize(
    ("size", "tried"), [(4, [(2, 2), (1, 4)]), (6, [(3, 2), (1, 6)]), (5, [(1, 5)]), (1, [])], ids=str
)
def test_an_odd_micro_batch_is_divided_too_until_it_is_a_row(
    tmp_path: Path, size: int, tried: list[tuple[int, int]]
) -> None:
    args = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 1}
    context = StepContext(Step("train", 1, "sft"), {}, tmp_path, tmp_path)
    for expected in tried:
        halve(context, args, "It says so.")
        assert tuple(halved(args, tmp_path).values()) == expected
    with pytest.raises(OutOfMemory, match="a micro-batch of 1 row") as caught:
        halve(context, args, "It says so.")
    assert caught.value.why == "It says so."


def test_fewer_rows_for_more_processes_are_not_divided_beyond_one(tmp_path: Path) -> None:
    args = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    context = StepContext(Step("train", 1, "sft"), {}, tmp_path, tmp_path)
    for _ in range(2):
        halve(context, args, "It says so.")
    assert halved({**args, "per_device_train_batch_size": 2}, tmp_path) == {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 2,
    }


def test_a_micro_batch_that_cannot_be_halved_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    too_large(monkeypatch, above=0)
    with pytest.raises(OutOfMemory, match="a micro-batch of 1 row") as caught:
        lab.train(lab.step(**ARGS), "none")
    assert "activation_checkpointing" in caught.value.next


@pytest.mark.slow
def test_a_kill_does_not_forget_what_fitted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    too_large(monkeypatch, above=2)

    def killed(event: dict[str, object]) -> None:
        if event.get("unit") == "step" and event["done"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.train(lab.step(**ARGS), "killed", emit=killed)
    lab.events.clear()
    trained = lab.train(lab.step(**ARGS), "killed")
    assert not any("out of memory" in note for note in lab.notes)
    assert trained.facts["out_of_memory"]["per_device_train_batch_size"] == 2
