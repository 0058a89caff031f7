from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.stages.train.judged import batches, loss_of, made, pairs, stir
from tests.stages.train.lab import IM_END, Lab, losses
from variantforge.stages.models import quiet
from variantforge.step import Artifact

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("orpo"), tiny_llama, pairs())


@pytest.fixture(scope="module")
def trained(lab: Lab) -> Artifact:
    return lab.train(lab.step(method="orpo", num_train_epochs=1), "trained")


def test_the_odds_of_chosen_over_rejected_rise_and_the_loss_falls(trained: Artifact) -> None:
    trace, told = losses(trained), trained.facts["objective"]
    assert told["log_odds_chosen"]["last"] > told["log_odds_chosen"]["first"]
    assert told["nll_loss"]["last"] < told["nll_loss"]["first"]
    assert told["rewards/accuracies"]["last"] > told["rewards/accuracies"]["first"]
    assert trace[-1] < trace[0]


def test_the_loss_starts_at_the_chosen_sides_likelihood_and_beta_times_ln_2(trained: Artifact) -> None:
    """Of a random model neither side is likelier, so the odds are even."""
    told = trained.facts["objective"]
    assert losses(trained)[0] == pytest.approx(told["nll_loss"]["first"] + 0.1 * math.log(2), abs=1e-3)


def test_tokens_are_counted_of_both_sides(lab: Lab, trained: Artifact) -> None:
    trainer, _, _ = made(lab, "orpo")
    sides = [side for row in trainer.train_dataset for side in (row["chosen_labels"], row["rejected_labels"])]
    assert trained.facts["tokens"] == sum(len(side) for side in sides)
    assert trained.facts["supervised_tokens"] == sum(label != -100 for side in sides for label in side)


def test_the_ids_that_reach_the_model_are_ours_and_both_sides_end_with_the_stop_token(lab: Lab) -> None:
    trainer, _, _ = made(lab, "orpo")
    wanted = {
        (side, tuple(row[f"{side}_input_ids"]), tuple(row[f"{side}_labels"]))
        for row in trainer.train_dataset
        for side in ("chosen", "rejected")
    }
    seen = set()
    for batch in batches(trainer):
        for side in ("chosen", "rejected"):
            fields = (batch[f"{side}_{name}"] for name in ("input_ids", "attention_mask", "labels"))
            for ids, mask, labels in zip(*fields, strict=True):
                length = int(mask.sum())
                seen.add((side, tuple(ids[:length].tolist()), tuple(labels[:length].tolist())))
                assert set(labels[length:].tolist()) <= {-100}
                assert ids[length - 1] == labels[length - 1] == IM_END
    assert seen == wanted


def test_the_loss_is_that_of_trls_own_trainer_and_tokens(lab: Lab) -> None:
    from datasets import Dataset
    from trl.experimental.orpo import ORPOTrainer

    ours, training, _ = made(lab, "orpo", bf16=False)
    decode, texts = training.tokenizer.decode, []
    for row in ours.train_dataset:
        start = sum(label == -100 for label in row["chosen_labels"])
        text = {side: decode(row[f"{side}_input_ids"][start:]) for side in ("chosen", "rejected")}
        texts.append({"prompt": decode(row["chosen_input_ids"][:start]), **text})
    with quiet():
        theirs = ORPOTrainer(
            training.model(),
            args=training.config,
            train_dataset=Dataset.from_list(texts),
            processing_class=training.tokenizer,
        )
    stir(ours.model)
    stir(theirs.model)
    mine = ours.data_collator([ours.train_dataset[at] for at in range(4)])
    their = theirs.data_collator([theirs.train_dataset[at] for at in range(4)])
    assert mine["chosen_input_ids"].tolist() == their["chosen_input_ids"].tolist()
    assert loss_of(ours, mine) == loss_of(theirs, their)
