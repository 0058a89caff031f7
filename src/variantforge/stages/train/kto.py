"""Kahneman-Tversky optimization (Ethayarajh et al. 2024, arXiv:2402.01306), on TRL's KTOTrainer.

    good answer: 1 - sigmoid(beta * (log p - log p_ref - z));  bad answer: 1 - sigmoid(beta * (z - (log p - log p_ref)))

z is how far the model has moved from its reference as a whole: the mean log-ratio of answers given to *other* prompts
of the same batch. So rows stay in one order, drawn once from the seed, in batches that know their mismatched answers.
The loss starts at 0.5.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from variantforge.errors import OutOfMemory
from variantforge.stages.train.method import Needs
from variantforge.stages.train.pairs import Counts, LearnedOnly, Side, columns, tokenize_side
from variantforge.stages.train.preference import (
    Prepared,
    drop_reference,
    every,
    pad_id,
    rates,
    tell_untrainable_head,
    tell_unused_dropout,
    window,
    with_reference,
    wrong_reference,
)
from variantforge.stages.train.training import Training, first_and_last
from variantforge.step import StepContext

if TYPE_CHECKING:
    from variantforge.spec.family import TrainSpec, VariantSpec
    from variantforge.stages.stage import Desk

METRICS = ("rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected", "kl")
# chosen and rejected are TRL's words for good and bad answers here, too
_PARTS = {"preference": (("chosen", True), ("rejected", False)), "unpaired_preference": (("completion", None),)}


class LabelledTrainer(Prepared):
    own_columns = ("completion_learned", "KL_learned")
    shown = ("loss", "rewards/chosen", "rewards/rejected", "kl", "tokens_per_s", "learning_rate", "grad_norm")


class Kto:
    """Answers labelled good become likelier, those labelled bad less likely; of a pair, each side is one of those."""

    version = 2
    rows: tuple[str, ...] = ("unpaired_preference", "preference")
    defaults: Mapping[str, Any] = {"learning_rate": 5e-6, "max_length": 1024, "beta": 0.1}

    def needs(self, desk: Desk, name: str, variant: VariantSpec) -> Needs | None:
        tell_untrainable_head(desk, variant.train)
        for argument, text in _wrong_arguments(variant.train):
            desk.problem(f"{desk.at_key}.train.args.{argument}", text)
        return Needs()

    def train(self, context: StepContext) -> None:
        training = Training(context, rates(context.step.params["adapter"].get("type", "lora"), self.defaults))
        counts = Counts()
        trainer = self.trainer(training, self.dataset(training, counts))
        training.run(trainer)
        drop_reference(trainer.model)
        training.save(trainer)
        labels = [bool(label) for label in trainer.train_dataset["label"]]
        told = {**counts.facts(len(labels)), "rows_good": sum(labels), "rows_bad": len(labels) - sum(labels)}
        context.write_facts({**training.facts(trainer, **told), "objective": first_and_last(trainer, *METRICS)})

    def dataset(self, training: Training, counts: Counts) -> Any:
        """The answers as tokens, proven, in the order they are trained. Raises WrongRows, NoSupervisedTokens, ..."""
        config = training.config
        require_company(config)
        rows = list(read_answers(training, counts, self.rows))
        counts.tell(training.context.note, config.max_length, len(rows))
        tell_balance(training.context.note, [row["label"] for row in rows], config)
        random.Random(config.seed if config.data_seed is None else config.data_seed).shuffle(rows)
        if measures_drift(config.loss_type):
            rows = mismatched(rows, config.per_device_train_batch_size)
        return columns(rows)

    def trainer(self, training: Training, dataset: Any) -> Any:
        """Before its first step."""
        from trl import KTOTrainer

        tell_unused_dropout(training)
        return with_reference(
            training,
            lambda **models: training.trainer(
                KTOTrainer, dataset, careful=LabelledTrainer, data_collator=collator(training), **models
            ),
        )


def require_company(config: Any) -> None:
    """Raises OutOfMemory for batches of one: while planning they are refused, so memory has brought them about."""
    if measures_drift(config.loss_type) and config.per_device_train_batch_size == 1:
        raise OutOfMemory(
            "memory does not suffice for two answers at a time, and kto compares the answers of a batch",
            why="With a single answer its measure of how far the model has moved would be that answer's own reward.",
            next="set train.args: {activation_checkpointing: true}, lower max_length, or take adapter: {type: qlora}",
        )


def measures_drift(loss_type: object) -> bool:
    """Whether a loss has the term z."""
    return loss_type != "apo_zero_unpaired"


def read_answers(training: Training, counts: Counts, kinds: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """One for each answer that teaches something within the window; of a pair, two."""
    for row in every(training, list(training.rows(kinds))):
        for part, label in _PARTS["preference" if "chosen" in row else "unpaired_preference"]:
            whole = tokenize_side(training.tokenizer, row, part, training.stop_ids)
            side = whole.cut(window(training.config))
            if not side.teaches:
                counts.dropped += 1
                continue
            counts.cut += sum(side.learned) < sum(whole.learned)
            name = row["id"] if label is None else f"{row['id']} ({part})"
            yield tokens_of_answer(name, side, bool(row["label"] if label is None else label))


def tokens_of_answer(name: str, side: Side, label: bool) -> dict[str, Any]:
    prompt, completion = side.ids[: side.start], side.ids[side.start :]
    learned = side.learned[side.start :]
    return {"id": name, "prompt_ids": prompt, "completion_ids": completion, "completion_learned": learned} | {
        "label": label
    }


def mismatched(rows: Sequence[dict[str, Any]], batch_size: int) -> list[dict[str, Any]]:
    """The rows, each with the answer of another row of its batch, so that z is taken over the batch's own answers.

    Within a batch answers move on by the number of places that gives the fewest rows an answer to their own prompt.
    A last batch of a single row takes the answer of the row before it.
    """
    paired = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        others = [*batch[-1:], *batch[:-1]] if len(batch) > 1 else list(rows[start - 1 : start])
        if len(batch) > 1:
            others = min((rotated(batch, by) for by in range(1, len(batch))), key=_same_prompts(batch))
        for row, other in zip(batch, others or batch, strict=True):
            paired.append(
                {**row, "KL_completion_ids": other["completion_ids"], "KL_learned": other["completion_learned"]}
            )
    return paired


def rotated(batch: Sequence[dict[str, Any]], by: int) -> list[dict[str, Any]]:
    return [*batch[-by:], *batch[:-by]]


def _same_prompts(batch: Sequence[dict[str, Any]]) -> Callable[[list[dict[str, Any]]], int]:
    return lambda others: sum(
        row["prompt_ids"] == other["prompt_ids"] for row, other in zip(batch, others, strict=True)
    )


def tell_balance(note: Callable[[str], None], labels: Sequence[bool], config: Any) -> None:
    """A note where good and bad answers differ in number and the weights do not make up for it (KTO paper, eq. 8)."""
    good = sum(labels)
    bad = len(labels) - good
    if not good or not bad:
        note(f"all {len(labels)} answers are labelled {'good' if good else 'bad'}: nothing tells the two apart")
        return
    ratio = (config.desirable_weight * good) / (config.undesirable_weight * bad)
    if not 0.99 <= ratio <= 1.34:
        low, high = (round(config.undesirable_weight * bad / good * by, 2) for by in (1.0, 1.33))
        note(
            f"{good} good and {bad} bad answers: the paper advises weights that make up for it, "
            f"here train.args.desirable_weight between {low} and {high}"
        )


def collator(training: Training) -> LearnedOnly:
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    config = training.config
    inner = DataCollatorForUnpairedPreference(pad_id(training), config.max_length, config.pad_to_multiple_of)
    return LearnedOnly(inner, {"completion_mask": ("completion_learned",), "KL_completion_mask": ("KL_learned",)})


def _wrong_arguments(train: TrainSpec) -> Iterator[tuple[str, str]]:
    """(argument, sentence) for what TRL would refuse only once the trainer is made."""
    args = train.args
    if measures_drift(args.get("loss_type", "kto")):
        if args.get("per_device_train_batch_size", 4) == 1:
            text = (
                "kto compares answers within a batch: 2 or more are wanted here (gradient_accumulation_steps may be 1)"
            )
            yield "per_device_train_batch_size", text
        if args.get("train_sampling_strategy", "sequential") != "sequential":
            text = "kto keeps rows in the order that pairs them with answers of their batch (shuffled once, from seed)"
            yield "train_sampling_strategy", f"{text}: remove it"
    yield from wrong_reference(train)
