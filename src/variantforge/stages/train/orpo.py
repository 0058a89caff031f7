"""Odds ratio preference optimization (Hong et al. 2024, arXiv:2403.07691), on TRL's ORPOTrainer: needs no reference.

    loss = nll(chosen) - beta * log sigmoid(log odds(chosen) - log odds(rejected)),   odds(y) = p(y) / (1 - p(y))

with p(y) the geometric mean over an answer's tokens. As in the paper's code, nll counts the prompt of the chosen side,
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from variantforge.stages.train.dpo import read_pairs
from variantforge.stages.train.examples import IGNORED
from variantforge.stages.train.method import Needs
from variantforge.stages.train.pairs import Counts, Side, columns
from variantforge.stages.train.preference import Prepared, pad_id, rates, refusals, tell_unused_dropout
from variantforge.stages.train.training import Training, first_and_last
from variantforge.step import StepContext

if TYPE_CHECKING:
    from variantforge.spec.family import VariantSpec
    from variantforge.stages.stage import Desk

METRICS = (
    "log_odds_chosen",
    "log_odds_ratio",
    "nll_loss",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
)
_SIDES = ("chosen", "rejected")
_COLUMNS = tuple(f"{side}_{field}" for side in _SIDES for field in ("input_ids", "attention_mask", "labels"))


class OddsTrainer(Prepared):
    """TRL's ORPOTrainer tokenizes in its constructor; rows that are tokenized already pass through as they are."""

    own_columns = _COLUMNS
    shown = ("loss", "log_odds_chosen", "rewards/accuracies", "tokens_per_s", "learning_rate", "grad_norm")

    @staticmethod
    def tokenize_row(row: dict[str, Any], model: Any = None) -> dict[str, Any]:
        return row

    def count(self, inputs: Any) -> tuple[int, int]:
        tokens = sum(int(inputs[f"{side}_attention_mask"].sum()) for side in _SIDES)
        return tokens, sum(int((inputs[f"{side}_labels"][:, 1:] != IGNORED).sum()) for side in _SIDES)


class Orpo:
    """The chosen answer is learned, and becomes likelier than the rejected one, in one go and without a reference."""

    version = 2
    rows: tuple[str, ...] = ("preference",)
    defaults: Mapping[str, Any] = {"learning_rate": 5e-5, "max_length": 1024, "beta": 0.1}

    def needs(self, desk: Desk, name: str, variant: VariantSpec) -> Needs | None:
        return Needs()

    def train(self, context: StepContext) -> None:
        training = Training(context, rates(context.step.params["adapter"].get("type", "lora"), self.defaults))
        counts = Counts()
        trainer = self.trainer(training, self.dataset(training, counts))
        training.run(trainer)
        training.save(trainer)
        facts = training.facts(trainer, **counts.facts(len(trainer.train_dataset)))
        context.write_facts({**facts, "objective": first_and_last(trainer, *METRICS)})

    def dataset(self, training: Training, counts: Counts) -> Any:
        """The pairs as tokens and labels, proven. Raises WrongRows, NoSupervisedTokens, WrongSupervisedSpan, ..."""
        pairs = read_pairs(training, counts, self.rows)
        rows = [
            {"id": row["id"], **labels_of("chosen", chosen), **labels_of("rejected", rejected)}
            for row, (chosen, rejected) in pairs
        ]
        counts.tell(training.context.note, training.config.max_length, len(rows))
        return columns(rows)

    def trainer(self, training: Training, dataset: Any) -> Any:
        """Before its first step."""
        from trl.experimental.orpo import ORPOTrainer
        from trl.experimental.utils import DPODataCollatorWithPadding

        tell_unused_dropout(training)
        padded = DPODataCollatorWithPadding(pad_token_id=pad_id(training))
        with refusals():
            return training.trainer(ORPOTrainer, dataset, careful=OddsTrainer, data_collator=padded)


def labels_of(name: str, side: Side) -> dict[str, list[int]]:
    """A side as ORPOTrainer reads it."""
    labels = [token if learned else IGNORED for token, learned in zip(side.ids, side.learned, strict=True)]
    return {f"{name}_input_ids": side.ids, f"{name}_attention_mask": [1] * len(side.ids), f"{name}_labels": labels}
