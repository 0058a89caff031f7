from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.stages.train.judged import batches, loss_of, made, pair, pairs, stir
from tests.stages.train.lab import IM_END, Lab, losses, sums
from variantforge.errors import NoSupervisedTokens, TrainError, WrongRows
from variantforge.stages.models import quiet
from variantforge.stages.tokens import load_tokenizer, tokenize_completion
from variantforge.step import Artifact

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("dpo"), tiny_llama, pairs())


@pytest.fixture(scope="module")
def trained(lab: Lab) -> Artifact:
    return lab.train(lab.step(method="dpo", num_train_epochs=1), "trained")


# --- what it does -------------------------------------------------------------------------------------------------


def test_the_loss_starts_at_ln_2_and_margins_and_accuracy_rise(trained: Artifact) -> None:
    trace, told = losses(trained), trained.facts["objective"]
    assert trace[0] == pytest.approx(math.log(2), abs=1e-6)
    assert told["rewards/margins"]["first"] == 0.0
    assert told["rewards/margins"]["last"] > 0.1
    assert told["rewards/accuracies"]["last"] == 1.0
    assert told["rewards/chosen"]["last"] > 0 > told["rewards/rejected"]["last"]
    assert trace[-1] < trace[0]
    assert (trained.facts["rows"], trained.facts["rows_dropped"], trained.facts["rows_cut"]) == (23, 0, 0)


def test_what_is_saved_is_the_adapter_alone_without_its_reference(trained: Artifact) -> None:
    files = sorted(path.relative_to(trained.path).as_posix() for path in (trained.path / "adapter").rglob("*"))
    assert files == ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"]


def test_progress_tells_margins_and_accuracies(lab: Lab, trained: Artifact) -> None:
    steps = [event for event in lab.events if event.get("unit") == "step" and event["metrics"].get("loss")]
    assert set(steps[0]["metrics"]) >= {"loss", "rewards/margins", "rewards/accuracies", "tokens_per_s"}


@pytest.mark.parametrize(
    "adapter",
    [{"type": "qlora"}, *(pytest.param({"type": type}, marks=pytest.mark.slow) for type in ("full", "pissa"))],
)
def test_whatever_is_trained_the_loss_starts_at_ln_2(lab: Lab, adapter: dict[str, Any]) -> None:
    from safetensors.torch import load_file

    if adapter["type"] == "qlora":
        pytest.importorskip("bitsandbytes")
    trained = lab.train(lab.step(adapter, method="dpo", max_steps=2), adapter["type"])
    trace = losses(trained)
    assert trace[0] == pytest.approx(math.log(2), abs=2e-3)
    assert trace[-1] < trace[0]
    if adapter["type"] == "full":
        return
    tensors = load_file(trained.path / "adapter" / "adapter_model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float32"}
    assert not any(".ref." in name for name in tensors)


# --- the very tokens ----------------------------------------------------------------------------------------------


def test_the_ids_that_reach_the_model_are_ours_and_both_sides_end_with_the_stop_token(lab: Lab) -> None:
    trainer, training, _ = made(lab, "dpo")
    wanted = set()
    for row in pairs():
        for side in ("chosen", "rejected"):
            prompt, ids = tokenize_completion(training.tokenizer, row["prompt"], row[side], stop_ids=[IM_END])
            wanted.add((side, (*prompt, *ids), len(ids)))
    seen = set()
    for batch in batches(trainer):
        half = len(batch["input_ids"]) // 2
        rows = zip(batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True)
        for at, (ids, real, learned) in enumerate(rows):
            length = int(real.sum())
            assert ids[:length][-1] == IM_END
            assert learned[:length][-1] == 1
            assert not learned[length:].any()
            seen.add(("chosen" if at < half else "rejected", tuple(ids[:length].tolist()), int(learned.sum())))
    assert seen == wanted


def test_the_loss_is_that_of_trls_own_trainer_and_tokens_and_of_its_copied_reference(lab: Lab) -> None:
    """TRL's trainer reads the same rows as text, and keeps a copy of the fresh adapter as its reference."""
    from datasets import Dataset
    from trl import DPOTrainer

    ours, training, _ = made(lab, "dpo", bf16=False)
    render = training.tokenizer.apply_chat_template
    texts = [
        {
            "prompt": render(row["prompt"], tokenize=False, add_generation_prompt=True),
            "chosen": row["chosen"][0]["content"] + "<|im_end|>",
            "rejected": row["rejected"][0]["content"] + "<|im_end|>",
        }
        for row in lab_rows(lab)
    ]
    with quiet():
        theirs = DPOTrainer(
            training.model(),
            args=training.config,
            train_dataset=Dataset.from_list(texts),
            processing_class=load_tokenizer(training.folder),
        )
    stir(ours.model)
    stir(theirs.model)
    assert "ref" in theirs.model.peft_config
    assert "ref" not in ours.model.peft_config
    mine = ours.data_collator([ours.train_dataset[at] for at in range(4)])
    their = theirs.data_collator([theirs.train_dataset[at] for at in range(4)])
    assert mine["input_ids"].tolist() == their["input_ids"].tolist()
    assert loss_of(ours, mine) == loss_of(theirs, their)


def lab_rows(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (lab.data.path / "train.jsonl").read_text().splitlines()]


def test_what_tools_returned_is_in_the_text_but_is_not_learned(tmp_path: Path, tiny_llama: Path) -> None:
    from variantforge.stages.rows import make_row

    turns = [
        {"role": "assistant", "content": "I look it up."},
        {"role": "tool", "content": "The answer is seventeen."},
        {"role": "assistant", "content": "It is 17."},
    ]
    prompt = [{"role": "user", "content": "What is it?"}]
    content = {"prompt": prompt, "chosen": turns, "rejected": [{"role": "assistant", "content": "No idea."}]}
    lab = Lab(tmp_path, tiny_llama, [make_row("prefs", content)])
    trainer, training, _ = made(lab, "dpo")
    batch = batches(trainer)[0]
    learned = batch["input_ids"][0][batch["completion_mask"][0] == 1]
    assert training.tokenizer.decode(learned) == "I look it up.<|im_end|>It is 17.<|im_end|>"
    assert "seventeen" in training.tokenizer.decode(batch["input_ids"][0])


@pytest.mark.slow
def test_what_does_not_fit_is_cut_or_left_out_and_told(tmp_path: Path, tiny_llama: Path) -> None:
    alike = "one two three four five six seven eight nine ten eleven twelve "
    rows = [
        *pairs(5),
        pair("Tell me. " * 60, "Yes.", "No."),
        pair("Count.", alike * 9 + "chosen", alike * 9 + "rejected"),
        pair("Say.", alike * 9, "No."),
    ]
    lab = Lab(tmp_path, tiny_llama, rows)
    trained = lab.train(lab.step(method="dpo", max_length=96, max_steps=1))
    assert [trained.facts[name] for name in ("rows", "rows_dropped", "rows_cut")] == [6, 2, 1]
    assert lab.notes[-3:] == [
        "rows left out, as a whole answer lies beyond max_length 96: 1",
        "pairs left out, as both sides are equal within max_length 96: 1",
        "rows trained with a cut answer, as they are longer than max_length 96: 1",
    ]
    with pytest.raises(NoSupervisedTokens, match="no row is left"):
        lab.train(lab.step(method="dpo", max_length=8), "short")


# --- the reference ------------------------------------------------------------------------------------------------


def test_training_all_weights_the_reference_is_a_frozen_copy_of_the_base(lab: Lab) -> None:
    trainer, _, _ = made(lab, "dpo", {"type": "full"}, bf16=False)
    assert not any(parameter.requires_grad for parameter in trainer.ref_model.parameters())
    assert all(
        bool((ours == theirs).all())
        for ours, theirs in zip(trainer.model.parameters(), trainer.ref_model.parameters(), strict=True)
    )


def test_a_start_taken_out_of_the_base_keeps_its_reference_and_takes_it_out_once(lab: Lab) -> None:
    """PiSSA: switching the adapter off would compare with what is left of the base."""
    import torch

    trainer, _, _ = made(lab, "dpo", {"type": "pissa"}, bf16=False)
    assert "ref" in trainer.model.peft_config
    batch = batches(trainer)[0]
    with torch.no_grad():
        plain = training_base(lab)(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        tuned = trainer.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert torch.allclose(plain, tuned, atol=2e-2)
    assert not any(".ref." in name for name, value in trainer.model.named_parameters() if value.requires_grad)


def training_base(lab: Lab) -> Any:
    from variantforge.stages.models import load_model

    return load_model(lab.base.path / "model")


@pytest.mark.slow
def test_a_reference_worked_out_beforehand_gives_the_same_losses(lab: Lab, trained: Artifact) -> None:
    early = lab.train(lab.step(method="dpo", precompute_ref_log_probs=True, max_steps=2), "early")
    assert losses(early) == pytest.approx(losses(trained)[:2], abs=1e-4)


# --- what is refused ----------------------------------------------------------------------------------------------


def test_rows_without_a_choice_are_refused_by_name(tmp_path: Path, tiny_llama: Path) -> None:
    lab = Lab(tmp_path, tiny_llama, sums(3))
    with pytest.raises(WrongRows, match="dpo cannot learn from the rows of 'sums': they are of the kind messages"):
        lab.train(lab.step(method="dpo"))


def test_what_trl_refuses_in_its_constructor_is_an_error_of_ours(lab: Lab) -> None:
    with pytest.raises(TrainError, match="does not accept"):
        made(lab, "dpo", loss_type=["sppo_hard"], f_divergence_type="js_divergence")


def test_a_dropout_that_trl_switches_off_is_told(lab: Lab) -> None:
    lab.events.clear()
    made(lab, "dpo", {"dropout": 0.1})
    assert any("dropout 0.1 is not used: dpo compares models without dropout" in note for note in lab.notes)
