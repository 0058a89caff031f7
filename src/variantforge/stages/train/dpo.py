"""Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290), on TRL's DPOTrainer.

    loss = -log sigmoid(beta * ((log p(chosen) - log p_ref(chosen)) - (log p(rejected) - log p_ref(rejected))))

It starts at ln 2: before the first step the model is its reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from variantforge.registry import near
from variantforge.stages.train.method import Needs
from variantforge.stages.train.pairs import Counts, LearnedOnly, Side, columns, cut_pair, shared_prompt, tokenize_side
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

# What TRL's loss_type takes; its config class leaves it to the first step to refuse another.
LOSSES = (
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
)
METRICS = (
    "rewards/margins",
    "rewards/accuracies",
    "rewards/chosen",
    "rewards/rejected",
    "logps/chosen",
    "logps/rejected",
)


class PairsTrainer(Prepared):
    own_columns = ("chosen_learned", "rejected_learned")


class Dpo:
    """Of two answers to a prompt, the chosen one becomes likelier than the rejected one, compared with the base."""

    version = 2
    rows: tuple[str, ...] = ("preference",)
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
        facts = training.facts(trainer, **counts.facts(len(trainer.train_dataset)))
        context.write_facts({**facts, "objective": first_and_last(trainer, *METRICS)})

    def dataset(self, training: Training, counts: Counts) -> Any:
        """The pairs as tokens, proven. Raises WrongRows, NoSupervisedTokens, WrongSupervisedSpan, ..."""
        rows = [tokens_of_pair(row["id"], *pair) for row, pair in read_pairs(training, counts, self.rows)]
        counts.tell(training.context.note, training.config.max_length, len(rows))
        return columns(rows)

    def trainer(self, training: Training, dataset: Any) -> Any:
        """Before its first step."""
        from trl import DPOTrainer

        tell_unused_dropout(training)
        return with_reference(
            training,
            lambda **models: training.trainer(
                DPOTrainer, dataset, careful=PairsTrainer, data_collator=collator(training), **models
            ),
        )


def read_pairs(
    training: Training, counts: Counts, kinds: tuple[str, ...]
) -> Iterator[tuple[dict[str, Any], tuple[Side, Side]]]:
    """Each row with its chosen and rejected side, cut to the window; pairs that teach nothing are left out."""
    for row in every(training, list(training.rows(kinds))):
        sides = [tokenize_side(training.tokenizer, row, part, training.stop_ids) for part in ("chosen", "rejected")]
        pair = cut_pair(sides[0], sides[1], window(training.config), counts)
        if pair is not None:
            yield row, pair


def tokens_of_pair(name: str, chosen: Side, rejected: Side) -> dict[str, Any]:
    """A row of what DPOTrainer is fed: the prompt is what both sides begin with."""
    start = shared_prompt(chosen, rejected)
    return {
        "id": name,
        "prompt_ids": chosen.ids[:start],
        "chosen_ids": chosen.ids[start:],
        "chosen_learned": chosen.learned[start:],
        "rejected_ids": rejected.ids[start:],
        "rejected_learned": rejected.learned[start:],
    }


def collator(training: Training) -> LearnedOnly:
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    inner = DataCollatorForPreference(pad_id(training), pad_to_multiple_of=training.config.pad_to_multiple_of)
    return LearnedOnly(inner, {"completion_mask": ("chosen_learned", "rejected_learned")})


def _wrong_arguments(train: TrainSpec) -> Iterator[tuple[str, str]]:
    """(argument, sentence) for what TRL would refuse only once the trainer is made, or at its first step."""
    args = train.args
    losses = args.get("loss_type", ["sigmoid"])
    names = [str(name) for name in (losses if isinstance(losses, list) else [losses])]
    for name in names:
        if name not in LOSSES:
            hint = near(name, list(LOSSES)) or f" Known: {', '.join(LOSSES)}."
            yield "loss_type", f"'{name}' is not a loss of DPO's.{hint}"
    weights = args.get("loss_weights")
    if isinstance(weights, list) and len(weights) != len(names):
        yield "loss_weights", f"{len(names)} losses in loss_type, but {len(weights)} weights"
    if "exo_pair" in names and not args.get("label_smoothing"):
        yield "loss_type", "exo_pair needs label_smoothing above 0 (its paper recommends 0.001)"
    yield from wrong_reference(train)
