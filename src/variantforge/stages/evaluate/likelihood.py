"""Log-likelihoods of chosen tokens under a causal language model, in batches of similar length.

Only hidden states of measured positions go through the output head: with a vocabulary of 150,000 the rest would
cost more memory than the model. Whatever a model does after its head (soft caps, scales) is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from variantforge.errors import EvaluateError
from variantforge.stages.evaluate.again import batch_limit
from variantforge.stages.evaluate.heldout import Example

if TYPE_CHECKING:
    import torch

# Padded tokens of a batch. A CPU is busy with few: SmolLM2-135M in float32 is a quarter slower with 2048 than with 512.
_CPU_BATCH_TOKENS, _BATCH_TOKENS = 512, 8192
_LOGITS_BYTES = 256 << 20  # logits of a batch, as float32
_CHUNK_ROWS = 256  # positions whose whole distributions are held a second time


@dataclass
class Score:
    """Sums over one example's measured tokens, in nats; all but ``nll`` only beside a reference.

    ``flips``: tokens that exactly one of the two expects most, as answers that turn from right to wrong or from wrong
    to right are counted (Dutta et al., "Accuracy is Not All You Need", arXiv 2407.09141).
    ``kls``: KL divergence at each token. [tokens]
    ``kept``: log-probabilities of all tokens at the positions that were asked for. [positions, vocabulary]
    """

    tokens: int
    nll: float
    kl: float | None = None
    same_top: int | None = None
    flips: int | None = None
    reference_nll: float | None = None
    kls: list[float] | None = None
    kept: torch.Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """``ids`` and ``mask`` [batch, length], right-padded; ``rows``, ``before``, ``targets`` [measured tokens].

    The token ``targets[i]`` of example ``rows[i]`` is predicted at position ``before[i]``.
    """

    places: list[int]
    ids: torch.Tensor
    mask: torch.Tensor
    rows: torch.Tensor
    before: torch.Tensor
    targets: torch.Tensor


def score(
    model: torch.nn.Module,
    examples: Sequence[Example],
    reference: torch.nn.Module | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    keep: Mapping[int, Sequence[int]] = MappingProxyType({}),
) -> list[Score]:
    """Scores every example; beside ``reference`` also KL(reference || model) and how often both have one favourite.

    ``keep``: place of an example -> some of its targets, whose whole distributions are wanted.
    Raises EvaluateError when a log-likelihood is not finite, naming the example.
    """
    import torch

    scores: dict[int, Score] = {}
    device = next(model.parameters()).device
    most_tokens = batch_limit(_CPU_BATCH_TOKENS if device.type == "cpu" else _BATCH_TOKENS)
    with torch.inference_mode():
        for places in batches(examples, most_tokens, vocab_size(model)):
            batch = _batch(examples, places, device)
            wanted = [[examples[place].targets.index(at) for at in keep.get(place, ())] for place in places]
            for place, one in zip(places, _score_batch(model, reference, batch, wanted), strict=True):
                _check_finite(examples[place], one)
                scores[place] = one
            progress(len(scores), len(examples))
    return [scores[place] for place in range(len(examples))]


def batches(examples: Sequence[Example], most_tokens: int, vocabulary: int) -> Iterator[list[int]]:
    """Places of examples, longest first, so that padding is small and memory is needed at once or not at all."""
    most_targets = max(1, _LOGITS_BYTES // (4 * vocabulary))
    batch: list[int] = []
    targets = longest = 0
    for place in sorted(range(len(examples)), key=lambda place: (-len(examples[place].ids), place)):
        example = examples[place]
        longest = longest or len(example.ids)
        full = (len(batch) + 1) * longest > most_tokens or targets + len(example.targets) > most_targets
        if batch and full:
            yield batch
            batch, targets, longest = [], 0, len(example.ids)
        batch.append(place)
        targets += len(example.targets)
    if batch:
        yield batch


def vocab_size(model: Any) -> int:
    return int(model.get_input_embeddings().num_embeddings)


def _batch(examples: Sequence[Example], places: list[int], device: Any) -> Batch:
    import torch

    chosen = [examples[place] for place in places]
    longest = max(len(example.ids) for example in chosen)
    ids = torch.zeros(len(chosen), longest, dtype=torch.long)
    mask = torch.zeros(len(chosen), longest, dtype=torch.long)
    for row, example in enumerate(chosen):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        mask[row, : len(example.ids)] = 1
    rows = torch.tensor([row for row, example in enumerate(chosen) for _ in example.targets])
    at = torch.tensor([position for example in chosen for position in example.targets])
    moved = [tensor.to(device) for tensor in (ids, mask, rows, at - 1, ids[rows, at])]
    return Batch(list(places), *moved)


def _logits(model: Any, batch: Batch) -> torch.Tensor:
    """[measured tokens, vocabulary]"""
    with only(model.get_output_embeddings(), batch.rows, batch.before):
        logits: torch.Tensor = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
    return logits[0]


@contextmanager
def only(head: torch.nn.Module, rows: torch.Tensor, positions: torch.Tensor) -> Iterator[None]:
    """The output head is handed the hidden states of the chosen positions, [1, chosen, width], and no others."""
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][rows, positions].unsqueeze(0),))
    try:
        yield
    finally:
        hook.remove()


def _score_batch(
    model: torch.nn.Module, reference: torch.nn.Module | None, batch: Batch, wanted: Sequence[Sequence[int]]
) -> list[Score]:
    """``wanted``: for each example, which of its measured tokens to keep the distributions of."""
    import torch

    ours = _logits(model, batch)
    theirs = _logits(reference, batch) if reference is not None else None
    parts = []
    for start in range(0, len(batch.targets), _CHUNK_ROWS):
        chunk = slice(start, start + _CHUNK_ROWS)
        parts.append(_token_scores(ours[chunk], batch.targets[chunk], None if theirs is None else theirs[chunk]))
    rows = batch.rows.cpu()
    each = torch.cat(parts).cpu().double()
    sums = torch.zeros(len(batch.places), each.shape[1], dtype=torch.float64)
    sums.index_add_(0, rows, each)
    counts = torch.bincount(rows, minlength=len(batch.places)).tolist()
    scores = [_as_score(count, values) for count, values in zip(counts, sums.tolist(), strict=True)]
    if reference is not None:
        for score, kls in zip(scores, each[:, 1].split(counts), strict=True):
            score.kls = kls.tolist()
    for place, score, first in zip(wanted, scores, accumulate(counts, initial=0), strict=False):
        if place:
            score.kept = torch.log_softmax(ours[[first + index for index in place]].float(), dim=-1).cpu()
    return scores


def _as_score(tokens: int, sums: Sequence[float]) -> Score:
    nll, *beside = sums
    if not beside:
        return Score(tokens, nll)
    kl, same_top, flips, reference_nll = beside
    kl = 0.0 if kl < 0 else kl  # rounding alone makes it negative; NaN stays NaN
    return Score(tokens, nll, kl, round(same_top), round(flips), reference_nll)


def _token_scores(logits: torch.Tensor, targets: torch.Tensor, wanted: torch.Tensor | None) -> torch.Tensor:
    """Per token: nll, and beside a reference KL, whether both have the same favourite, whether exactly one of them is
    right, and the reference's nll. [tokens, 1 or 5]"""
    import torch

    ours = torch.log_softmax(logits.float(), dim=-1)
    nll = -ours.gather(1, targets.unsqueeze(1)).squeeze(1)
    if wanted is None:
        return nll.unsqueeze(1)
    theirs = torch.log_softmax(wanted.float(), dim=-1)
    kl = torch.sum(theirs.exp() * (theirs - ours), dim=-1)
    top, wanted_top = ours.argmax(dim=-1), theirs.argmax(dim=-1)
    flipped = (top == targets) != (wanted_top == targets)
    reference_nll = -theirs.gather(1, targets.unsqueeze(1)).squeeze(1)
    return torch.stack([nll, kl, (top == wanted_top).float(), flipped.float(), reference_nll], dim=1)


def _check_finite(example: Example, score: Score) -> None:
    """Raises EvaluateError, naming the example."""
    broken = "log-likelihood" if not isfinite(score.nll) else "KL divergence from the merged model"
    if isfinite(score.nll) and isfinite(score.kl or 0.0):
        return
    raise EvaluateError(
        f"the {broken} of row {example.id} (dataset '{example.source}') is not a finite number",
        why=f"Over {score.tokens} tokens: log-likelihood {-score.nll}, KL {score.kl}. "
        "Weights that are NaN or infinite do this.",
        next="look at the loss in the training's events.jsonl; lower learning_rate, or quantize less",
    )
