from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.stages.train.judged import batches, labelled, loss_of, made, pairs, stir
from tests.stages.train.lab import IM_END, Lab, losses, sums
from variantforge.errors import OutOfMemory, WrongRows
from variantforge.stages.models import quiet
from variantforge.stages.train.kto import mismatched, tell_balance
from variantforge.step import Artifact

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    """Answers with labels of their own, and pairs of which each side is one."""
    return Lab(tmp_path_factory.mktemp("kto"), tiny_llama, [*labelled(12), *pairs(5)])


@pytest.fixture(scope="module")
def trained(lab: Lab) -> Artifact:
    return lab.train(lab.step(method="kto", num_train_epochs=1), "trained")


# --- what it does -------------------------------------------------------------------------------------------------


def test_the_loss_starts_at_a_half_and_good_answers_gain_while_bad_ones_lose(trained: Artifact) -> None:
    trace, told = losses(trained), trained.facts["objective"]
    assert trace[0] == pytest.approx(0.5, abs=1e-6)
    assert told["kl"]["first"] == told["rewards/chosen"]["first"] == told["rewards/rejected"]["first"] == 0.0
    assert told["rewards/chosen"]["last"] > 0 > told["rewards/rejected"]["last"]
    assert trace[-1] < trace[0]


def test_a_pair_is_one_good_answer_and_one_bad_one(trained: Artifact) -> None:
    assert [trained.facts[name] for name in ("rows", "rows_good", "rows_bad")] == [22, 11, 11]


# --- the very tokens ----------------------------------------------------------------------------------------------


def test_every_batch_holds_our_ids_and_for_each_row_the_answer_of_another_of_its_rows(lab: Lab) -> None:
    trainer, _, _ = made(lab, "kto", per_device_train_batch_size=4)
    wanted = {tuple(row["prompt_ids"] + row["completion_ids"]) for row in trainer.train_dataset}
    seen = set()
    for batch in batches(trainer):
        whole = [ids[: int(mask.sum())].tolist() for ids, mask in zip_of(batch, "input_ids", "attention_mask")]
        own = [ids[mask == 1].tolist() for ids, mask in zip_of(batch, "input_ids", "completion_mask")]
        other = [ids[mask == 1].tolist() for ids, mask in zip_of(batch, "KL_input_ids", "KL_completion_mask")]
        seen |= {tuple(ids) for ids in whole}
        assert sorted(own) == sorted(other)
        assert all(ids[-1] == IM_END for ids in whole)
        assert all(mine != others for mine, others in zip(own, other, strict=True) if own.count(mine) == 1)
    assert seen == wanted


def zip_of(batch: Any, *names: str) -> Any:
    return zip(*(batch[name] for name in names), strict=True)


def test_the_loss_is_that_of_trls_own_trainer_on_the_same_batch(lab: Lab) -> None:
    """TRL's trainer reads the same rows as text, in our order, and is given our mismatched answers."""
    from datasets import Dataset
    from trl import KTOTrainer

    ours, training, _ = made(lab, "kto", bf16=False)
    decode = training.tokenizer.decode
    texts = [
        {"prompt": decode(row["prompt_ids"]), "completion": decode(row["completion_ids"]), "label": row["label"]}
        for row in ours.train_dataset
    ]
    with quiet():
        theirs = KTOTrainer(
            training.model(),
            args=training.config,
            train_dataset=Dataset.from_list(texts),
            processing_class=training.tokenizer,
        )
    stir(ours.model)
    stir(theirs.model)
    for start in (0, 2, 4):
        mine = ours.data_collator([ours.train_dataset[at] for at in (start, start + 1)])
        their = theirs.data_collator([theirs.train_dataset[at] for at in (start, start + 1)])
        assert {name: value.tolist() for name, value in mine.items()} == {
            name: value.tolist() for name, value in their.items()
        }
        assert loss_of(ours, mine) == loss_of(theirs, their)


def rows_of(prompts: str) -> list[dict[str, Any]]:
    """One row for each letter, its prompt; answers are numbers."""
    return [
        {"prompt_ids": [ord(letter)], "completion_ids": [at], "completion_learned": [True]}
        for at, letter in enumerate(prompts)
    ]


@pytest.mark.parametrize(
    ("prompts", "size", "others"),
    [
        ("abcd", 4, [3, 0, 1, 2]),  # moved on by one, as TRL does
        ("aabb", 4, [2, 3, 0, 1]),  # by one, two would answer their own prompt
        ("abcde", 2, [1, 0, 3, 2, 3]),  # a last row alone: the answer of the row before it
        ("a", 4, [0]),  # the only row there is
    ],
)
def test_mismatched_answers(prompts: str, size: int, others: Sequence[int]) -> None:
    assert [row["KL_completion_ids"] for row in mismatched(rows_of(prompts), size)] == [[at] for at in others]


def test_the_order_is_drawn_from_the_seed_alone(lab: Lab) -> None:
    orders = [made(lab, "kto", seed=seed)[0].train_dataset["id"] for seed in (1, 1, 2)]
    assert list(orders[0]) == list(orders[1])
    assert list(orders[0]) != list(orders[2])


def test_without_the_term_for_drift_no_mismatched_answers_are_made(lab: Lab) -> None:
    trainer, _, _ = made(lab, "kto", loss_type="apo_zero_unpaired", per_device_train_batch_size=1)
    assert not any(name.startswith("KL") for name in batches(trainer)[0])


# --- what is told -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "bad", "weight", "told"),
    [
        (5, 5, 1.0, ""),
        (4, 3, 1.0, ""),  # 4:3 is the most that the paper advises
        (6, 3, 1.0, "desirable_weight between 0.5 and 0.67"),
        (6, 3, 0.6, ""),
        (3, 6, 1.0, "desirable_weight between 2.0 and 2.66"),
        (3, 0, 1.0, "all 3 answers are labelled good"),
    ],
)
def test_answers_out_of_balance_are_told_with_the_weights_that_make_up(
    good: int, bad: int, weight: float, told: str
) -> None:
    class Config:
        desirable_weight, undesirable_weight = weight, 1.0

    notes: list[str] = []
    tell_balance(notes.append, [True] * good + [False] * bad, Config)
    assert [told in note for note in notes] == [True] * bool(told)


def test_a_batch_that_memory_has_brought_down_to_one_answer_is_refused(lab: Lab) -> None:
    with pytest.raises(OutOfMemory, match="two answers at a time"):
        made(lab, "kto", per_device_train_batch_size=1)


def test_rows_without_a_label_are_refused_by_name(tmp_path: Path, tiny_llama: Path) -> None:
    lab = Lab(tmp_path, tiny_llama, sums(3))
    with pytest.raises(WrongRows, match="kto cannot learn from the rows of 'sums'"):
        lab.train(lab.step(method="kto"))
