"""The first step proves how losses are summed: with each architecture, padded, accumulated and packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stages.train.lab import Lab, adapter_bytes, losses
from tests.tiny import tiny_model
from tests.tiny_mixtures import tiny_mixture
from variantforge.errors import PackingLeaks, WrongAccumulation
from variantforge.stages.train.first_step import FirstStep, alone
from variantforge.stages.train.sft import ProvenAtFirst

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
ONE_STEP = {"max_steps": 1, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "bf16": False}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("first"), tiny_llama)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float | None, float]]:
    """(the step's loss, the mean over its rows' tokens) of every proof."""
    found: list[tuple[float | None, float]] = []
    check = FirstStep.check

    def told(self: FirstStep, loss: float | None, learned: int) -> None:
        found.append((loss, self._nats / self._tokens))
        check(self, loss, learned)

    monkeypatch.setattr(FirstStep, "check", told)
    return found


def test_the_first_loss_is_the_mean_over_tokens_of_ragged_rows(
    lab: Lab, seen: list[tuple[float | None, float]]
) -> None:
    trained = lab.train(lab.step(**ONE_STEP))
    ((loss, wanted),) = seen
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert losses(trained) == [pytest.approx(wanted, rel=1e-4)]


@pytest.mark.slow
def test_accumulation_is_the_large_batch(lab: Lab) -> None:
    """Rows of different lengths, and a last window of an epoch that is not full."""
    import torch
    from safetensors.torch import load

    common = {"max_steps": 8, "bf16": False, "lr_scheduler_type": "constant"}
    runs = [
        lab.train(
            lab.step(per_device_train_batch_size=size, gradient_accumulation_steps=6 // size, **common), f"{size}"
        )
        for size in (1, 2, 6)
    ]
    single, double, whole = ([*losses(run)] for run in runs)
    assert single == pytest.approx(whole, rel=1e-4)
    assert double == pytest.approx(whole, rel=1e-4)
    tensors = [load(adapter_bytes(run)) for run in runs]
    for name, tensor in tensors[-1].items():
        scale = tensor.norm() + 1e-9
        assert all(torch.norm(other[name] - tensor) / scale < 2e-2 for other in tensors[:-1]), name


def test_micro_batches_that_are_weighed_alike_are_found(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every trainer had it: each micro-batch its own mean, whatever it holds."""
    train = ProvenAtFirst.training_step

    def unweighed(self: Any, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        return train(self, model, inputs, None)

    monkeypatch.setattr(ProvenAtFirst, "training_step", unweighed)
    with pytest.raises(WrongAccumulation, match="its rows on their own give"):
        lab.train(lab.step(**ONE_STEP), "unweighed")


MIXTURES = ("mixtral", "qwen3_moe")
DENSE = (
    *("qwen2", "qwen3", "mistral", "gemma3_text", "phi3", "glm4"),
    *("smollm3", "olmo2", "granite", "ernie4_5", "cohere2"),
)


@pytest.mark.parametrize(
    "arch", ["llama", *(pytest.param(name, marks=pytest.mark.slow) for name in (*DENSE, *MIXTURES))]
)
def test_packed_rows_are_scored_as_on_their_own(
    arch: str, tmp_path: Path, seen: list[tuple[float | None, float]], tiny_llama: Path
) -> None:
    make = tiny_mixture if arch in MIXTURES else tiny_model
    lab = Lab(tmp_path / "lab", tiny_llama if arch == "llama" else make(tmp_path / "model", arch, small=True))
    adapter = {"target_modules": "all-linear", **({"experts": "frozen"} if arch in MIXTURES else {})}
    packed = {**ONE_STEP, "packing": True, "max_length": 128, "per_device_train_batch_size": 1}
    lab.train(lab.step(adapter, **packed))
    ((loss, wanted),) = seen
    if arch not in MIXTURES:  # whose loss has a term for the balance of experts
        assert loss == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_an_architecture_that_does_not_keep_packed_rows_apart_is_found(tmp_path: Path) -> None:
    """gpt-oss, as transformers 5.23 has it on a CPU, does not look at where positions begin anew."""
    lab = Lab(tmp_path / "lab", tiny_mixture(tmp_path / "model", "gpt_oss", small=True))
    step = lab.step(
        {"target_modules": ["q_proj"], "experts": "frozen"}, **{**ONE_STEP, "packing": True, "max_length": 128}
    )
    with pytest.raises(PackingLeaks, match="they see each other"):
        lab.train(step)


def test_packing_where_rows_see_each_other_is_found(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attention that is handed no borders: causal over the whole sequence."""
    import transformers.models.llama.modeling_llama as llama

    def causal(config: Any, inputs_embeds: Any, *args: Any, **kwargs: Any) -> Any:
        import torch

        length = inputs_embeds.shape[1]
        return torch.ones(length, length, dtype=torch.bool).tril()[None, None]

    monkeypatch.setattr(llama, "create_causal_mask", causal)
    step = lab.step(**{**ONE_STEP, "packing": True, "max_length": 128, "per_device_train_batch_size": 1})
    with pytest.raises(PackingLeaks, match="they see each other"):
        lab.train(step, "leaking")


def test_a_batch_is_taken_apart_at_padding_and_at_positions() -> None:
    import torch

    ids = torch.arange(8)[None]
    labels = ids.clone()
    padded = {"input_ids": ids, "labels": labels, "attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])}
    (row,) = alone(padded)
    assert row["input_ids"].tolist() == [[2, 3, 4, 5, 6, 7]]
    packed = {"input_ids": ids, "labels": labels, "position_ids": torch.tensor([[0, 1, 2, 0, 1, 0, 1, 2]])}
    assert [row["input_ids"].tolist() for row in alone(packed)] == [[[0, 1, 2]], [[3, 4]], [[5, 6, 7]]]
    assert not list(alone({"input_ids": ids, "labels": torch.full_like(ids, -100)}))
