"""Pre-training that goes on: all of a text is learned, whatever its length."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.stages.train.lab import Lab, adapter_bytes, losses, sums
from tests.stages.train.test_preference import problems
from tests.stages.train.test_resume import Killed, killer
from variantforge.errors import WrongRows
from variantforge.stages.models import load_model, quiet
from variantforge.stages.rows import make_row
from variantforge.stages.train.sft import Continued
from variantforge.stages.train.training import Training
from variantforge.step import Artifact, StepContext

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

ARGS = {"max_length": 64, "learning_rate": 5e-3}
COLOURS = ("red", "blue", "green", "black")


def texts(count: int = 24, start: int = 0) -> list[dict[str, Any]]:
    """Documents of one small world, short and long; from another ``start``, others of it."""
    lines = (f"The colour of thing {n} is {COLOURS[n % 4]}, and so it stays. " for n in range(start, start + count))
    return [make_row("world", {"text": line * (1 + at % 5)}) for at, line in enumerate(lines)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("continued"), tiny_llama, texts())


@pytest.fixture(scope="module")
def trained(lab: Lab) -> Artifact:
    return lab.train(lab.step(method="continued", **ARGS), "trained")


def made(lab: Lab, **args: Any) -> tuple[Any, Training]:
    step = lab.step(method="continued", **{**ARGS, **args})
    scratch = lab.root / "scratch"
    context = StepContext(step=step, inputs={"base": lab.base, "data": lab.data}, out=scratch, scratch=scratch)
    with quiet():
        does, training = Continued(), Training(context, Continued.defaults)
        return does.trainer(training, does.examples(training)), training


def test_the_loss_of_texts_it_has_not_seen_falls(lab: Lab, trained: Artifact) -> None:
    from peft import PeftModel

    base = load_model(lab.base.path / "model")
    before = heldout_loss(lab, base)
    after = heldout_loss(lab, PeftModel.from_pretrained(base, trained.path / "adapter"))
    assert after < before - 0.3
    assert losses(trained)[-1] < losses(trained)[0]


def heldout_loss(lab: Lab, model: Any) -> float:
    import torch

    from variantforge.stages.tokens import load_tokenizer

    tokenizer, total = load_tokenizer(lab.base.path / "model"), 0.0
    rows = texts(4, start=100)
    for row in rows:
        ids = torch.tensor([tokenizer(row["text"])["input_ids"]])
        with torch.no_grad():
            total += float(model(ids, labels=ids).loss)
    return total / len(rows)


def test_documents_are_joined_each_with_its_end_and_cut_into_full_windows(lab: Lab) -> None:
    trainer, training = made(lab)
    tokenizer = training.tokenizer
    windows = trainer.train_dataset["input_ids"]
    joined = list(chain.from_iterable(windows))
    documents = [tokenizer(row["text"])["input_ids"] + [tokenizer.eos_token_id] for row in texts()]
    assert {len(window) for window in windows[:-1]} == {64}
    assert joined.count(tokenizer.eos_token_id) == len(documents)
    found = "".join(tokenizer.decode(joined)).split(tokenizer.eos_token)
    assert sorted(found) == sorted([*(row["text"] for row in texts()), ""])
    assert len(joined) == sum(len(ids) for ids in documents)


def test_every_token_but_the_first_of_a_document_is_learned(lab: Lab) -> None:
    trainer, training = made(lab)
    ids = list(chain.from_iterable(trainer.train_dataset["input_ids"]))
    labels = list(chain.from_iterable(trainer.train_dataset["labels"]))
    starts = [0, *(at + 1 for at, token in enumerate(ids[:-1]) if token == training.tokenizer.eos_token_id)]
    assert [at for at, label in enumerate(labels) if label == -100] == starts
    assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))


def test_no_text_is_cut_or_left_out_for_its_length(trained: Artifact) -> None:
    assert [trained.facts[name] for name in ("rows", "rows_dropped", "rows_cut")] == [24, 0, 0]


def test_the_loss_is_that_of_trls_own_trainer_and_tokens(lab: Lab) -> None:
    from datasets import Dataset
    from trl import SFTTrainer

    ours, training = made(lab, packing=False, bf16=False)
    with quiet():
        theirs = SFTTrainer(
            training.model(),
            args=training.config,
            train_dataset=Dataset.from_list([{"text": row["text"]} for row in texts()]),
            processing_class=training.tokenizer,
        )
    mine = ours.data_collator([ours.train_dataset[at] for at in range(4)])
    their = theirs.data_collator([theirs.train_dataset[at] for at in range(4)])
    assert mine["input_ids"].tolist() == their["input_ids"].tolist()
    one, other = ours.compute_loss(ours.model, mine), theirs.compute_loss(theirs.model, their)
    assert float(one.detach()) == pytest.approx(float(other.detach()), rel=1e-5)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(lab: Lab, trained: Artifact) -> None:
    step = lab.step(method="continued", **ARGS)
    with pytest.raises(Killed):
        lab.train(step, "killed", emit=killer(trained.facts["steps"] - 1))
    assert adapter_bytes(lab.train(step, "killed")) == adapter_bytes(trained)


def test_chats_are_refused_by_name(tmp_path: Path, tiny_llama: Path) -> None:
    lab = Lab(tmp_path, tiny_llama, sums(3))
    with pytest.raises(WrongRows, match="continued cannot learn from the rows of 'sums'"):
        lab.train(lab.step(method="continued"))


def test_windows_without_a_length_are_told_while_planning(tmp_path: Path) -> None:
    told = [
        "variants.v.train.args.max_length: packing fills windows of max_length tokens: "
        "a number is wanted, or packing: false"
    ]
    assert problems(tmp_path, "continued", max_length=None) == told
    assert problems(tmp_path, "sft", max_length=None, packing=True) == told
    assert problems(tmp_path, "continued", max_length=None, packing=False) == []
