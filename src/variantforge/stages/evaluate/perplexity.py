"""Held-out loss and perplexity, and what quantizing changed: KL divergence, favourites, and the run in llama.cpp.

The tokens measured are the supervised tokens of held-out rows, the same for every subject. A GGUF file's weights are
dequantized into the torch model and measured like all others, since llama.cpp's server gives no log-probabilities of
a prompt; then llama.cpp runs the file itself and is compared with torch at sampled positions (``runtime_gap``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from variantforge.spec.family import Section
from variantforge.stages.evaluate.evaluation import Measured
from variantforge.stages.evaluate.heldout import Example
from variantforge.stages.evaluate.metric import QUANTIZED, Metric, is_quantized, method_of
from variantforge.stages.evaluate.runtime_gap import TOLERANCE, measure_gap, sampled
from variantforge.stages.evaluate.scoring import check_vocabulary, gguf_of, load_both, read_rows, scored
from variantforge.step import StepContext

if TYPE_CHECKING:
    from variantforge.stages.evaluate.likelihood import Score

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
    runtime_tolerance: float = Field(TOLERANCE, gt=0, description="largest mean difference of log-probabilities there")


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
        heldout = read_rows(context, max_examples=params.max_examples, max_length=params.max_length)
        gguf = gguf_of(measured)
        chosen = sampled(heldout.examples, params.runtime_positions if gguf else 0)
        model, merged = load_both(measured, reference, params.dtype)
        check_vocabulary(model, heldout.examples)
        scores = scored(context, model, merged, heldout.examples, chosen)
        rows = [_row(*pair) for pair in zip(heldout.examples, scores, strict=True)]
        del model, merged  # llama.cpp loads the file once more
        if gguf and chosen:
            measure_gap(context, gguf, rows, heldout.examples, scores, chosen, params.runtime_tolerance)
        tokens = sum(len(example.targets) for example in heldout.examples)
        facts = {"tokens": tokens, "tokens_sha256": heldout.digest, "shortened": heldout.shortened}
        return Measured(rows, facts)


def _row(example: Example, score: Score) -> dict[str, Any]:
    """One line of ``examples.jsonl``: sums over the example's measured tokens."""
    row: dict[str, Any] = {"id": example.id, "source": example.source, "tokens": score.tokens}
    row["nll"] = round(score.nll, _DIGITS)
    if score.kl is not None:
        row |= {"kl": round(score.kl, _DIGITS), "same_top": score.same_top}
    return row
