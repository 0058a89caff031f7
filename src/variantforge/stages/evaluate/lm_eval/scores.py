"""From logits to scores: what a continuation is worth, and whether it is the likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from variantforge.errors import EvaluateError
from variantforge.stages.evaluate.lm_eval.prefixes import Request

if TYPE_CHECKING:
    import torch

_CHUNK_ROWS = 256  # positions whose whole distributions are held a second time


class Scored(NamedTuple):
    """``logprob``: of the continuation, summed, in nats. ``greedy``: whether each of its tokens was the likeliest."""

    logprob: float
    greedy: bool


class Found:
    """Log-probabilities at positions, and the likeliest token of each."""

    def __init__(self, logits: torch.Tensor) -> None:
        import torch

        self._logits = logits
        self._norms = torch.cat([chunk.float().logsumexp(-1) for chunk in logits.split(_CHUNK_ROWS)])
        self._favourites = logits.argmax(-1).tolist()

    def score(self, lines: Sequence[int], continuation: Sequence[int]) -> Scored:
        chosen = self._logits[list(lines), list(continuation)].float() - self._norms[list(lines)]
        favourites = self._favourites
        greedy = all(favourites[line] == token for line, token in zip(lines, continuation, strict=True))
        return Scored(float(chosen.double().sum()), greedy)


def check_finite(scored: Scored, request: Request) -> None:
    if isfinite(scored.logprob):
        return
    raise EvaluateError(
        f"a log-likelihood is not a finite number: {scored.logprob}",
        why=f"Of {len(request.continuation)} tokens after {len(request.context)}. "
        "Weights that are NaN or infinite do this.",
        next="look at the loss in the training's events.jsonl; lower learning_rate, or quantize less",
    )
