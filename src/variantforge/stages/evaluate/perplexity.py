"""Held-out loss and perplexity, and what quantizing changed: KL divergence, favourites, and the run in llama.cpp.

The tokens measured are the supervised tokens of held-out rows, the same for every subject. A GGUF file's weights are
dequantized into the torch model and measured like all others, since llama.cpp's server gives no log-probabilities of
a prompt; then llama.cpp runs the file itself and is compared with torch at sampled positions (``runtime_gap``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from variantforge.errors import EvaluateError, Interrupted
from variantforge.spec.family import Section
from variantforge.stages.evaluate import llama_runtime
from variantforge.stages.evaluate.heldout import Example, HeldOut, read_heldout
from variantforge.stages.evaluate.metric import QUANTIZED, Metric, is_quantized, method_of
from variantforge.stages.evaluate.stage import Measured
from variantforge.step import Artifact, StepContext

if TYPE_CHECKING:
    import torch

    from variantforge.stages.evaluate.likelihood import Score

_POSITIONS_PER_EXAMPLE = 2  # 16 positions then stand in 8 examples: as many as a gate asks for
_LEAST = -14.0  # log-probability of one in a million: what is rarer counts as that rare
_DIGITS = 6  # of sums of log-probabilities that are kept: beyond them lies the order of additions


class PerplexityParams(Section):
    """What a user may write beside ``evaluator: perplexity``."""

    # Checked and read by the data stage; left out of keys here, since the key of the data says it already.
    fraction: Any = Field(0.05, exclude=True, description="share of the rows held out from training")
    max_examples: int = Field(200, ge=1, description="measure at most this many held-out rows")
    max_length: int = Field(1024, ge=2, description="tokens of a row that are read; what is beyond is not measured")
    # bfloat16 is twice as fast where the CPU has it, and adds a KL of 0.0015 of its own: as much as Q8_0 does.
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision in which torch computes")
    runtime_positions: int = Field(16, ge=0, description="positions at which llama.cpp is compared with torch; 0: none")
    # SmolLM2-135M: bf16 0.02; Q8_0 0.09, Q4_K_M 0.13, Q2_K 0.11 (llama.cpp rounds activations to 8 bits there);
    # with a rope base ten times too small, 0.89.
    runtime_tolerance: float = Field(0.3, gt=0, description="largest mean difference of log-probabilities there")


class Perplexity:
    """Mean negative log-likelihood per held-out token, in nats, and its exponential."""

    Params = PerplexityParams
    heavy = True
    METRICS = (
        Metric("loss", "nll", "tokens", "lower"),
        Metric("perplexity", "nll", "tokens", "lower", scale="exp"),
        Metric("kl", "kl", "tokens", "lower", on=QUANTIZED),
        Metric("same_top", "same_top", "tokens", "higher", on=QUANTIZED),
        Metric("runtime_gap", "gap", "positions", "lower", on="gguf"),
    )

    def metrics(self, params: PerplexityParams, subject: str) -> tuple[Metric, ...]:
        ran = params.runtime_positions > 0
        return tuple(one for one in self.METRICS if one.applies_to(subject) and (ran or one.name != "runtime_gap"))

    def needs(self, params: PerplexityParams, subject: str) -> tuple[str, ...]:
        return ("data", "reference") if is_quantized(subject) else ("data",)

    def identity(self, params: PerplexityParams, subject: str) -> dict[str, Any]:
        own = params.identity()
        return own if method_of(subject) == "gguf" else {k: v for k, v in own.items() if not k.startswith("runtime_")}

    def evaluate(self, context: StepContext) -> Measured:
        params = PerplexityParams(**context.step.params)
        measured, reference = context.inputs["model"], context.inputs.get("reference")
        heldout = _read(context, params)
        gguf = _gguf(measured)
        chosen = sampled(heldout.examples, params.runtime_positions if gguf else 0)
        model, merged = _load(measured, reference, params.dtype)
        _check_vocabulary(model, heldout.examples)
        scores = _scored(context, model, merged, heldout.examples, chosen)
        rows = [_row(*pair) for pair in zip(heldout.examples, scores, strict=True)]
        del model, merged  # llama.cpp loads the file once more
        if gguf and chosen:
            expected = _expected(context, gguf, heldout.examples, chosen)
            _add_gaps(rows, scores, chosen, expected)
            _check_gap(gguf, rows, params.runtime_tolerance)
        tokens = sum(len(example.targets) for example in heldout.examples)
        facts = {"tokens": tokens, "tokens_sha256": heldout.digest, "shortened": heldout.shortened}
        return Measured(rows, facts)


def _gguf(artifact: Artifact) -> Path | None:
    path = artifact.path / "model.gguf"
    return path if path.is_file() else None


def _read(context: StepContext, params: PerplexityParams) -> HeldOut:
    """The held-out rows as tokens, by the tokenizer of the folder measured; for a GGUF file, of the merged one."""
    from variantforge.stages.tokens import load_tokenizer

    measured = context.inputs["model"]
    merged = context.inputs.get("reference", measured)
    holder = merged if _gguf(measured) else measured
    heldout = read_heldout(
        context.inputs["data"].path,
        load_tokenizer(holder.path / "model"),
        merged.facts["stop_token_ids"],
        max_examples=params.max_examples,
        max_length=params.max_length,
    )
    if heldout.shortened:
        context.note(
            f"{heldout.shortened} held-out rows are longer than {params.max_length} tokens; they were cut there"
        )
    if heldout.without_targets:
        context.note(f"{heldout.without_targets} held-out rows have no answer to measure; they were left out")
    return heldout


def _load(measured: Artifact, merged: Artifact | None, dtype: str) -> tuple[Any, Any]:
    """The model to measure, and the merged model beside it for a quantized one."""
    from variantforge.stages.models import device, load_model

    def load(artifact: Artifact) -> Any:
        return load_model(artifact.path / "model", dtype=dtype, device=str(device()))

    gguf = _gguf(measured)
    if gguf and merged is None:
        raise EvaluateError(f"{gguf.name} cannot be measured without the merged model it was made from")
    model = _filled(load(merged), gguf) if gguf and merged else load(measured)
    return model, load(merged) if merged else None


def _filled(model: Any, gguf: Path) -> Any:
    """``model`` with the weights of a GGUF file."""
    from variantforge.stages.quantize.read import dequantized_state

    model.load_state_dict(dequantized_state(gguf, model.config))
    return model


def _check_vocabulary(model: Any, examples: Sequence[Example]) -> None:
    from variantforge.stages.evaluate.likelihood import vocab_size

    largest, known = max(max(example.ids) for example in examples), vocab_size(model)
    if largest >= known:
        raise EvaluateError(
            f"the tokenizer writes token {largest}, but the model knows {known} tokens only",
            why="Tokenizer and weights do not belong together.",
            next="take both from the same base model",
        )


def _scored(
    context: StepContext, model: Any, merged: Any, examples: Sequence[Example], keep: Mapping[int, list[int]]
) -> list[Score]:
    from variantforge.stages.evaluate.likelihood import score

    def progress(done: int, total: int) -> None:
        context.progress(done, total, "example")
        if context.stopping():
            raise Interrupted("stopped while measuring", next="run the same command again")

    return score(model, examples, merged, progress, keep)


def _row(example: Example, score: Score) -> dict[str, Any]:
    """One line of ``examples.jsonl``: sums over the example's measured tokens."""
    row: dict[str, Any] = {"id": example.id, "source": example.source, "tokens": score.tokens}
    row["nll"] = round(score.nll, _DIGITS)
    if score.kl is not None:
        row |= {"kl": round(score.kl, _DIGITS), "same_top": score.same_top}
    return row


# --- the run in llama.cpp -----------------------------------------------------------------------------------------


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
