"""TRL's DistillationTrainer, fed with token ids that are proven here, and as careful as every trainer here is."""

from __future__ import annotations

from typing import Any

from variantforge.stages.train.order import EpochOrder
from variantforge.stages.train.processes import ranks
from variantforge.stages.train.processes.generation import generated
from variantforge.stages.train.trainer import Careful


class AnsweredByStudent(Careful):
    """Batches are lists of rows: ``prompt`` is token ids. The student answers them, once for each step."""

    shown: tuple[str, ...] = ("loss", "completions/mean_length", "tokens_per_s", "learning_rate", "grad_norm")
    knows_processes = True

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        """TRL's order, drawn from the generator that EpochOrder seeds: its own would begin anew after a resume."""
        import torch

        order = super()._get_train_sampler(train_dataset)
        order.inner.generator = torch.default_generator
        return order

    def _rows_of_step(self) -> list[str]:
        """Each batch of a whole step stands in the order once for every micro-batch."""
        order, micro = self._order.order(self._order.epoch), self.args.gradient_accumulation_steps
        size = self.args.per_device_train_batch_size * micro * ranks.world()
        first = (self.state.global_step * size * micro) % max(len(order), 1)
        return self._row_names(order[first : first + size])

    def count(self, inputs: Any) -> tuple[int, int]:
        return 0, 0  # how long answers are is known once they are there

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        with self.accelerator.autocast():  # generating goes past the forward that accelerate has wrapped
            batch = super()._prepare_inputs(generation_batch)  # type: ignore[misc]
        answers = batch["completion_mask"]
        self.tokens += int(batch["prompt_mask"].sum() + answers.sum())
        self.supervised_tokens += int((answers * batch.get("tool_mask", 1)).sum())
        return batch

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        with self.accelerator.autocast():  # and so does TRL, to reach the hidden states
            return super().compute_loss(*args, **kwargs)  # type: ignore[misc]

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        return generated(self, super()._generate_single_turn, *args, **kwargs)  # type: ignore[misc]

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}


class AnsweredByRows(AnsweredByStudent):
    """Rows bring their answers: ``completion`` is token ids, ``learned`` says of each whether it counts."""

    shown: tuple[str, ...] = Careful.shown

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Any:
        self._answered = inputs
        return super()._generate_and_score_completions(inputs)  # type: ignore[misc]

    def _generate(self, prompts: list[list[int]]) -> tuple[Any, ...]:
        """As TRL's: prompts, answers, and which tokens of these count; images, of which there are none, twice."""
        answers = [row["completion"] for row in self._answered]
        return prompts, answers, [[int(one) for one in row["learned"]] for row in self._answered], None, []
