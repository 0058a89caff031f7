"""How far llama.cpp, running a GGUF file, is from the file's own weights in torch, at sampled positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import EvaluateError
from variantforge.stages.evaluate import llama_runtime
from variantforge.stages.evaluate.heldout import Example
from variantforge.step import StepContext

if TYPE_CHECKING:
    import torch

    from variantforge.stages.evaluate.likelihood import Score

# SmolLM2-135M: bf16 0.02; Q8_0 0.09, Q4_K_M 0.13, Q2_K 0.11 (llama.cpp rounds activations to 8 bits there);
# with a rope base ten times too small, 0.89.
TOLERANCE = 0.3
_POSITIONS_PER_EXAMPLE = 2  # 16 positions then stand in 8 examples: as many as a gate asks for
_LEAST = -14.0  # log-probability of one in a million: what is rarer counts as that rare
_DIGITS = 6


def measure_gap(
    context: StepContext,
    gguf: Path,
    rows: list[dict[str, Any]],
    examples: Sequence[Example],
    scores: Sequence[Score],
    chosen: Mapping[int, list[int]],
    tolerance: float,
) -> None:
    """Adds ``gap`` and ``positions`` to rows of the examples ``chosen``, whose distributions the scores have kept.

    Raises EvaluateError when llama.cpp computes something else than the weights say.
    """
    _add_gaps(rows, scores, chosen, _expected(context, gguf, examples, chosen))
    _check_gap(gguf, rows, tolerance)


def _expected(
    context: StepContext, gguf: Path, examples: Sequence[Example], chosen: Mapping[int, list[int]]
) -> Iterator[dict[int, float]]:
    """What llama.cpp expects at the chosen positions, in their order."""
    contexts = [examples[place].ids[:position] for place, positions in chosen.items() for position in positions]
    return iter(
        llama_runtime.next_tokens(
            gguf,
            contexts,
            progress=lambda done, total: context.progress(done, total, "position"),
            stopping=context.stopping,
        )
    )


def _add_gaps(
    rows: list[dict[str, Any]],
    scores: Sequence[Score],
    chosen: Mapping[int, list[int]],
    expected: Iterator[dict[int, float]],
) -> None:
    """Adds ``gap`` (summed over positions) and ``positions`` to the rows of the examples that were chosen."""
    for place in chosen:
        kept = scores[place].kept
        assert kept is not None  # it was asked for
        gaps = [_gap(ours, next(expected)) for ours in kept]
        rows[place] |= {"gap": round(sum(gaps), _DIGITS), "positions": len(gaps)}


def _gap(ours: torch.Tensor, theirs: Mapping[int, float]) -> float:
    """Mean absolute difference of log-probabilities over llama.cpp's likeliest tokens."""
    found = ours.clamp(min=_LEAST)
    return sum(abs(float(found[token]) - max(logprob, _LEAST)) for token, logprob in theirs.items()) / len(theirs)


def _check_gap(gguf: Path, rows: Sequence[Mapping[str, Any]], tolerance: float) -> None:
    """Raises EvaluateError when llama.cpp computes something else than the weights say."""
    count = sum(row.get("positions", 0) for row in rows)
    gap = sum(row.get("gap", 0.0) for row in rows) / count
    if gap <= tolerance:
        return
    raise EvaluateError(
        f"{gguf.name} does not run in llama.cpp as its weights say",
        why=f"Log-probabilities differ by {gap:.3g} on average at {count} positions "
        f"(runtime_tolerance: {tolerance:g}). The file's metadata or layout is wrong.",
        next="quantize this variant again; look for a newer converter that knows this architecture",
    )


def sampled(examples: Sequence[Example], positions: int) -> dict[int, list[int]]:
    """Which positions of which examples llama.cpp is asked about: place -> positions, ascending.

    Examples from the shortest to the longest, and positions from the first to the last target, evenly.
    """
    if not positions:
        return {}
    by_length = sorted(range(len(examples)), key=lambda place: (len(examples[place].ids), place))
    chosen: dict[int, list[int]] = {}
    left = positions
    for place in _evenly(by_length, -(-positions // _POSITIONS_PER_EXAMPLE)):
        chosen[place] = _evenly(examples[place].targets, min(_POSITIONS_PER_EXAMPLE, left))
        left -= len(chosen[place])
    return chosen


def _evenly(items: Sequence[int], count: int) -> list[int]:
    """``count`` of the items (all, when there are fewer) at even distances, first and last among them."""
    if count >= len(items):
        return list(items)
    if count == 1:
        return [items[len(items) // 2]]
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]
