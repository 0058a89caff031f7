from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stages.train.lab import IM_END, Lab, adapter_bytes, chat, losses, sums
from tests.tiny import tiny_model
from variantforge.errors import (
    EmptyAdapter,
    Interrupted,
    NonFiniteLoss,
    NoSupervisedTokens,
    StopTokenNotSupervised,
    TrainError,
    UnmatchedTargets,
)
from variantforge.stages.models import quiet
from variantforge.stages.tokens import load_tokenizer
from variantforge.stages.train.sft import Sft
from variantforge.stages.train.training import Training
from variantforge.step import StepContext

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture
def lab(tmp_path: Path, tiny_llama: Path) -> Lab:
    return Lab(tmp_path, tiny_llama)


def trainer_of(lab: Lab, adapter: dict[str, Any] | None = None, **args: Any) -> Any:
    """The trainer a step would use, before its first step."""
    step = lab.step(adapter, **args)
    scratch = lab.root / "scratch"
    context = StepContext(step=step, inputs={"base": lab.base, "data": lab.data}, out=scratch, scratch=scratch)
    with quiet():
        sft, training = Sft(), Training(context, Sft.defaults)
        return sft.trainer(training, sft.examples(training))


# --- what comes out -----------------------------------------------------------------------------------------------


def test_lora_learns_and_leaves_an_adapter_without_paths(lab: Lab) -> None:
    trained = lab.train(lab.step())
    trace = losses(trained)
    assert len(trace) == 12
    assert trace[-1] < trace[0]
    assert trained.facts["steps"] == 12
    assert trained.facts["epochs"] == 2.0
    assert (trained.facts["loss_first"], trained.facts["loss_last"]) == (trace[0], trace[-1])
    assert len(trained.facts["matched_modules"]) == 14
    assert sorted(path.name for path in (trained.path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = (trained.path / "adapter" / "adapter_config.json").read_text()
    assert json.loads(config)["base_model_name_or_path"] == "tiny/base"
    assert str(lab.root) not in config + json.dumps(trained.facts)


def test_equal_steps_give_equal_bytes(lab: Lab) -> None:
    first, second = lab.train(lab.step(), "one"), lab.train(lab.step(), "two")
    assert adapter_bytes(first) == adapter_bytes(second)
    assert first.facts == second.facts


def test_qlora_trains_over_nf4_and_keeps_its_matrices_in_float32(lab: Lab) -> None:
    pytest.importorskip("bitsandbytes")
    from safetensors.torch import load_file

    trained = lab.train(lab.step({"type": "qlora"}, max_steps=3))
    tensors = load_file(trained.path / "adapter" / "adapter_model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float32"}
    assert len(tensors) == 28


def test_full_training_gives_a_model_like_the_base_in_bf16(lab: Lab) -> None:
    from safetensors.torch import load_file

    trained = lab.train(lab.step({"type": "full"}, max_steps=2))
    base, out = lab.base.path / "model", trained.path / "model"
    assert {path.name for path in out.iterdir()} == {path.name for path in base.iterdir()}
    assert (out / "config.json").read_bytes() == (base / "config.json").read_bytes()
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert {name: tensor.dtype for name, tensor in before.items()} == {n: t.dtype for n, t in after.items()}
    assert any((before[name] != after[name]).any() for name in before)


def test_progress_tells_loss_speed_and_rate_of_each_step(lab: Lab) -> None:
    lab.train(lab.step(max_steps=3))
    steps = [event for event in lab.events if event.get("unit") == "step" and event["metrics"].get("loss")]
    assert [event["done"] for event in steps] == [1, 2, 3]
    assert all(set(event["metrics"]) == {"loss", "tokens_per_s", "learning_rate", "grad_norm"} for event in steps)


def test_what_the_user_writes_reaches_trl(lab: Lab) -> None:
    args = {"weight_decay": 0.25, "adam_beta1": 0.7, "lr_scheduler_type": "linear", "max_grad_norm": 0.5, "seed": 7}
    args |= {"gradient_checkpointing": True}
    told = trainer_of(lab, **args).args
    assert {name: getattr(told, name) for name in args} == args


def test_a_run_of_one_step_learns(lab: Lab) -> None:
    """With warm-up rounded up, its only step would have rate zero."""
    assert lab.train(lab.step(max_steps=1)).facts["steps"] == 1


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_checkpointing_can_be_asked_for_under_both_of_its_names(lab: Lab, name: str) -> None:
    assert trainer_of(lab, **{name: True}).args.activation_checkpointing is True
    assert trainer_of(lab).args.activation_checkpointing is False


# --- masks and windows --------------------------------------------------------------------------------------------


def test_the_collator_hands_over_exactly_our_labels_although_padding_is_the_stop_token(lab: Lab) -> None:
    trainer = trainer_of(lab)
    wanted = {tuple(row["input_ids"]): row["labels"] for row in trainer.train_dataset}
    assert trainer.processing_class.pad_token_id == IM_END
    seen = 0
    for batch in trainer.get_train_dataloader():
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
            length = int(mask.sum())
            assert labels[:length].tolist() == wanted[tuple(ids[:length].tolist())]
            assert labels[:length].tolist()[-2] == IM_END  # before the template's closing newline
            assert set(labels[length:].tolist()) <= {-100}
            seen += 1
    assert seen == 23


def test_packed_rows_have_our_labels_and_the_loss_of_rows_on_their_own(lab: Lab) -> None:
    import torch

    trainer = trainer_of(lab, packing=True, max_length=128, bf16=False)
    alone = trainer_of(lab, bf16=False)
    packed_loss = tokens = 0.0
    for batch in trainer.get_train_dataloader():
        count = int((batch["labels"] != -100).sum())
        with torch.no_grad():
            packed_loss += float(trainer.compute_loss(trainer.model.eval(), dict(batch))) * count
        tokens += count
    single_loss, single_tokens = 0.0, 0
    for row in alone.train_dataset:
        count = sum(label != -100 for label in row["labels"])
        batch = {"input_ids": torch.tensor([row["input_ids"]]), "labels": torch.tensor([row["labels"]])}
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        with torch.no_grad():
            single_loss += float(alone.compute_loss(alone.model.eval(), batch)) * count
        single_tokens += count
    assert tokens == single_tokens
    assert packed_loss / tokens == pytest.approx(single_loss / single_tokens, rel=1e-5)


def test_rows_whose_whole_answer_is_cut_are_left_out_and_counted(tmp_path: Path, tiny_llama: Path) -> None:
    long = chat("Tell me. " * 60, "Yes.")
    partly = chat("Count.", "one two three " * 40)
    lab = Lab(tmp_path, tiny_llama, [*sums(6), long, partly])
    trained = lab.train(lab.step(max_length=100))
    assert (trained.facts["rows"], trained.facts["rows_dropped"], trained.facts["rows_cut"]) == (7, 1, 1)
    assert lab.notes == [
        "rows left out, as their whole answer lies beyond max_length 100: 1",
        "rows trained with a cut answer, as they are longer than max_length 100: 1",
    ]


def test_a_window_that_cuts_every_answer_is_an_error(lab: Lab) -> None:
    with pytest.raises(NoSupervisedTokens, match="every answer lies beyond max_length"):
        lab.train(lab.step(max_length=8))


def test_rows_without_an_answer_stop_before_training(tmp_path: Path, tiny_llama: Path) -> None:
    mute = {"id": "00000000000000aa", "source": "mute", "messages": [{"role": "user", "content": "Hello?"}]}
    lab = Lab(tmp_path, tiny_llama, [*sums(3), mute])
    with pytest.raises(NoSupervisedTokens, match="00000000000000aa of 'mute'"):
        lab.train(lab.step())


def test_a_stop_token_the_template_does_not_write_stops_before_training(tmp_path: Path, tiny_llama: Path) -> None:
    lab = Lab(tmp_path, tiny_llama, stop_token_ids=[0])
    with pytest.raises(StopTokenNotSupervised, match="not followed by a stop token"):
        lab.train(lab.step())


# --- what must not pass in silence --------------------------------------------------------------------------------


def test_each_target_must_match(lab: Lab) -> None:
    with pytest.raises(UnmatchedTargets, match=r"'q_porj' names no module.*Did you mean 'q_proj'"):
        lab.train(lab.step({"target_modules": ["v_proj", "q_porj"]}))
    with pytest.raises(UnmatchedTargets, match="names no module"):
        lab.train(lab.step({"target_modules": ".*nothing"}))


def test_targets_that_cannot_be_folded_are_refused(lab: Lab) -> None:
    with pytest.raises(TrainError, match="embed_tokens"):
        lab.train(lab.step({"target_modules": ["q_proj", "embed_tokens"]}))
    with pytest.raises(TrainError, match="cannot be trained as written"):
        lab.train(lab.step({"target_modules": ["mlp"]}))


def test_a_run_that_moves_nothing_is_an_error(lab: Lab) -> None:
    with pytest.raises(EmptyAdapter, match="all its B matrices are zero"):
        lab.train(lab.step(learning_rate=0.0, max_steps=2))


def test_a_loss_that_is_not_finite_names_step_and_row_and_saves_nothing(tmp_path: Path) -> None:
    """One token's embedding is NaN; the row that uses it is the one named, and no later checkpoint exists."""
    import torch
    from safetensors.torch import load_file, save_file

    model = tiny_model(tmp_path / "model", "qwen3", tied=False, small=True)
    rows = [*sums(9), chat("What is a river?", "Water that flows.")]
    (token,) = load_tokenizer(model)(" river")["input_ids"]
    tensors = load_file(model / "model.safetensors")
    tensors["model.embed_tokens.weight"][token] = float("nan")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})

    lab = Lab(tmp_path / "lab", model, rows)
    step = lab.step(per_device_train_batch_size=1, gradient_accumulation_steps=1, num_train_epochs=1)
    with pytest.raises(NonFiniteLoss) as caught:
        lab.train(step)
    assert f"Its rows: {rows[-1]['id']}." in caught.value.why
    at = int(caught.value.what.split("at step ")[1].split()[0])
    assert not (lab.root / "run" / "train" / step.key / "adapter").exists()
    kept = list((lab.root / "run" / "scratch" / step.key / "checkpoints").glob("checkpoint-*"))
    assert all(int(place.name.rpartition("-")[2]) < at for place in kept)
    for place in kept:
        assert all(torch.isfinite(tensor).all() for tensor in load_file(place / "weights.safetensors").values())


def test_an_argument_value_trl_refuses_is_told_plainly(lab: Lab) -> None:
    with pytest.raises(TrainError, match="does not accept"):
        lab.train(lab.step(lr_scheduler_type="cosinus"))


def test_stopping_before_the_first_step_is_an_interruption(lab: Lab) -> None:
    with pytest.raises(Interrupted, match="before its first step"):
        lab.train(lab.step(), stopping=lambda: True)
