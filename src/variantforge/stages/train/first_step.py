"""Proof, at the first step, that its loss is what its rows on their own give: the mean over all their tokens.

Three well-known failures change that number without a word. Accumulation that weighs micro-batches, not tokens (each
trainer had it until October 2024: transformers #34191); packing where rows see each other, since the attention at hand
does not know where one ends; a collator that masks padding by its id, and with it each stop token. Each row is scored
alone here, once, by the same head, without gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from variantforge.errors import PackingLeaks, WrongAccumulation, WrongSupervisedSpan

# How far sums in another order may lie apart, for float32 and for half precision
_OF_A_TOKEN = {True: 0.1, False: 2e-3}  # nats, mean over tokens: seen are 0.02 and 1e-5
_OF_THE_LOSS = {True: 0.01, False: 2e-4}  # relative


class FirstStep:
    """``add`` each micro-batch before it is learned from; ``check`` with their summed loss."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._nats, self._tokens = 0.0, 0
        self._half = bool(trainer.args.bf16 or trainer.args.fp16)

    def add(self, inputs: dict[str, Any]) -> None:
        """Raises PackingLeaks when the rows of a packed batch are not scored as they are alone."""
        import torch

        model = self._trainer.model
        was_training = model.training
        model.eval()
        with torch.no_grad(), self._trainer.compute_loss_context_manager():
            rows = [self._scores(part) for part in alone(inputs)]
            apart = self._apart(inputs, rows) if "position_ids" in inputs else 0.0
        model.train(was_training)
        self._nats -= sum(float(row.sum()) for row in rows)
        self._tokens += sum(len(row) for row in rows)
        if apart > _OF_A_TOKEN[self._half]:
            raise PackingLeaks(
                "packed rows are not scored as they are on their own: they see each other",
                why=f"Log-probabilities of the same tokens lie {apart:.3f} nats apart on average. The attention of "
                "this model does not keep the rows of one packed sequence apart.",
                next="set train.args: {packing: false}, or an attention implementation that reads position_ids",
            )

    def check(self, loss: float | None, learned: int) -> None:
        """``learned``: tokens that the step's rows have to learn from. Raises WrongSupervisedSpan when its batches had
        others, WrongAccumulation unless ``loss`` is the mean over the tokens of all of them (None: it is no mean)."""
        if self._tokens != learned:
            raise WrongSupervisedSpan(
                f"the first step's batches have {self._tokens} tokens to learn from, and its rows have {learned}",
                why="Something between rows and model changes what is learned, as a collator does that masks padding "
                "by its id where the stop token pads as well.",
                next="report the arguments that are set; defaults leave labels as they are",
            )
        wanted = self._nats / max(self._tokens, 1)
        if loss is not None and abs(loss - wanted) > _OF_THE_LOSS[self._half] * max(wanted, 1.0):
            raise WrongAccumulation(
                f"the first step's loss is {loss:.4f}, and its rows on their own give {wanted:.4f}",
                why=f"The loss must be the mean over the step's {self._tokens} learned tokens. Micro-batches are "
                "weighed wrongly (the model ignores num_items_in_batch), or tokens are learned that should not be.",
                next="report the architecture; gradient_accumulation_steps: 1 trains it rightly until then",
            )

    def _scores(self, inputs: dict[str, Any]) -> Any:
        """Log-probabilities of the learned tokens, in order: [n]."""
        outputs = self._trainer.model(**inputs, use_cache=False, fused_lm_head=True)
        return outputs.log_probs[outputs.label_mask.bool()].float()

    def _apart(self, inputs: dict[str, Any], rows: list[Any]) -> float:
        import torch

        packed = self._scores({name: value for name, value in inputs.items() if name != "use_cache"})
        return float((packed - torch.cat(rows)).abs().mean()) if len(packed) else 0.0


def alone(inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every row of a batch as a batch of its own, without padding; a packed sequence is taken apart where positions
    begin anew. Rows without a learned token are left out."""
    import torch

    for number, (ids, labels) in enumerate(zip(inputs["input_ids"], inputs["labels"], strict=True)):
        if "position_ids" in inputs:
            starts = (inputs["position_ids"][number] == 0).nonzero()[:, 0].tolist()
            borders = [*starts, len(ids)]
            parts = [slice(start, end) for start, end in pairwise(borders)]
        else:
            parts = [inputs["attention_mask"][number].bool()] if "attention_mask" in inputs else [slice(None)]
        for part in parts:
            own, learned = ids[part][None], labels[part][None]
            if bool((learned[:, 1:] != -100).any()):
                yield {"input_ids": own, "labels": learned, "attention_mask": torch.ones_like(own)}
