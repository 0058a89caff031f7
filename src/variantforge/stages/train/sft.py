"""Supervised fine-tuning, and pre-training continued on plain text, both on TRL's SFTTrainer.

Rows are tokenized and their masks proven here; TRL is handed ``input_ids`` and ``labels`` and takes them as they are.
Everything the user writes under ``train.args`` is given to SFTConfig unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from variantforge.stages.train.examples import IGNORED, Examples, read_examples, tell_what_was_cut
from variantforge.stages.train.first_step import FirstStep
from variantforge.stages.train.head import compact_head
from variantforge.stages.train.method import Needs
from variantforge.stages.train.trainer import Careful
from variantforge.stages.train.training import Training
from variantforge.step import StepContext

if TYPE_CHECKING:
    from variantforge.spec.family import VariantSpec
    from variantforge.stages.stage import Desk


class ProvenAtFirst(Careful):
    """Proves the first step, where one process has all of it; its loss, where that is the plain mean over tokens."""

    _first: FirstStep | None = None

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        if self.state.global_step == 0 and self.args.world_size == 1:
            self._first = self._first or FirstStep(self)
            self._first.add(self._prepare_inputs(inputs))  # type: ignore[attr-defined]
        return super().training_step(model, inputs, num_items_in_batch)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        loss, norm = sum(self._micro_losses), super()._get_grad_norm(model, grad_norm)
        if self._first is not None:
            self._first.check(loss if self._is_plain() else None, self._learned_in_rows())
            self._first = None
        return norm

    def _learned_in_rows(self) -> int:
        """Tokens that the rows of this step have to learn from, whatever batches were made of them."""
        rows = self.train_dataset.select(self.positions_of_step())["labels"]
        return sum(label != -100 for row in rows for label in row[1:])

    def filler(self) -> Any:
        """Two tokens, none of them learned from."""
        first = self.train_dataset[0]
        row = {name: value[:2] if isinstance(value, list) else value for name, value in first.items()}
        row["labels"] = [IGNORED] * len(row["input_ids"])
        if "seq_lengths" in row:  # of the rows packed into it
            row["seq_lengths"] = [len(row["input_ids"])]
        return type(self.train_dataset).from_list([row], features=self.train_dataset.features)

    def _is_plain(self) -> bool:
        """Whether nothing is added to the loss (a mixture's balance), and no token weighs more than another."""
        args, config = self.args, self.model.config.get_text_config()
        weighed = args.loss_type != "nll" or args.label_smoothing_factor or args.neftune_noise_alpha
        return not (weighed or getattr(config, "output_router_logits", False))


class Sft:
    """Answers, each with its end, are learned; of plain text, everything."""

    version = 1
    rows: tuple[str, ...] = ("messages", "text")
    defaults: Mapping[str, Any] = {"learning_rate": 2e-4, "max_length": 1024}

    def needs(self, desk: Desk, name: str, variant: VariantSpec) -> Needs | None:
        args = {**self.defaults, **variant.train.args}
        if args.get("packing") and args["max_length"] is None:
            text = "packing fills windows of max_length tokens: a number is wanted, or packing: false"
            desk.problem(f"{desk.at_key}.train.args.max_length", text)
        return Needs()

    def train(self, context: StepContext) -> None:
        training = Training(context, self.defaults)
        examples = self.examples(training)
        trainer = self.trainer(training, examples)
        training.run(trainer)
        training.save(trainer)
        counts = {"rows": len(examples.ids), "rows_dropped": examples.dropped, "rows_cut": examples.cut}
        context.write_facts(training.facts(trainer, **counts))

    def examples(self, training: Training) -> Examples:
        """The rows as tokens and labels, proven. Raises WrongRows, NoSupervisedTokens, WrongSupervisedSpan, ..."""
        rows, config = list(training.rows(self.rows)), training.config
        examples = read_examples(training.context, rows, training.tokenizer, training.stop_ids, window(config))
        tell_what_was_cut(training.context, examples, config.max_length)
        return examples

    def trainer(self, training: Training, examples: Examples) -> Any:
        """Before its first step."""
        from trl import SFTTrainer

        trainer = training.trainer(SFTTrainer, examples.dataset(), careful=ProvenAtFirst)
        compact_head(trainer.model, training.context.note)
        return trainer


class Continued(Sft):
    """Pre-training goes on: documents are joined, each with its end, and cut into windows of ``max_length`` tokens."""

    rows = ("text",)
    defaults: Mapping[str, Any] = {
        "learning_rate": 1e-4,
        "max_length": 1024,
        "packing": True,
        "packing_strategy": "wrapped",
    }


def window(config: Any) -> slice:
    """The part of a row that is trained, as TRL's truncation_mode says; all of it where packing splits long rows."""
    splits = config.packing and config.packing_strategy != "bfd"
    if config.max_length is None or splits:
        return slice(None)
    return slice(-config.max_length, None) if config.truncation_mode == "keep_end" else slice(None, config.max_length)
