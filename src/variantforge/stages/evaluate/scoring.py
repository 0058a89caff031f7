"""The models that a measurement needs, and the held-out rows as tokens: what every likelihood is measured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import EvaluateError, Interrupted
from variantforge.stages.evaluate.heldout import Example, HeldOut, read_heldout
from variantforge.step import Artifact, StepContext

if TYPE_CHECKING:
    from variantforge.stages.evaluate.likelihood import Score


def gguf_of(artifact: Artifact) -> Path | None:
    path = artifact.path / "model.gguf"
    return path if path.is_file() else None


def read_rows(context: StepContext, *, max_examples: int, max_length: int) -> HeldOut:
    """The held-out rows as tokens, by the tokenizer of the folder measured; for a GGUF file, of the merged one."""
    from variantforge.stages.tokens import load_tokenizer

    measured = context.inputs["model"]
    merged = context.inputs.get("reference", measured)
    holder = merged if gguf_of(measured) else measured
    heldout = read_heldout(
        context.inputs["data"].path,
        load_tokenizer(holder.path / "model"),
        merged.facts["stop_token_ids"],
        max_examples=max_examples,
        max_length=max_length,
    )
    if heldout.shortened:
        context.note(f"{heldout.shortened} held-out rows are longer than {max_length} tokens; they were cut there")
    if heldout.without_targets:
        context.note(f"{heldout.without_targets} held-out rows have no answer to measure; they were left out")
    return heldout


def load_both(measured: Artifact, merged: Artifact | None, dtype: str) -> tuple[Any, Any]:
    """The model to measure, and the merged model beside it for a quantized one."""
    from variantforge.stages.models import device, load_model

    def load(artifact: Artifact) -> Any:
        return load_model(artifact.path / "model", dtype=dtype, device=str(device()))

    gguf = gguf_of(measured)
    if gguf and merged is None:
        raise EvaluateError(f"{gguf.name} cannot be measured without the merged model it was made from")
    model = filled(load(merged), gguf) if gguf and merged else load(measured)
    return model, load(merged) if merged else None


def filled(model: Any, gguf: Path) -> Any:
    """``model`` with the weights of a GGUF file."""
    from variantforge.stages.quantize.read import dequantized_state

    model.load_state_dict(dequantized_state(gguf, model.config))
    return model


def check_vocabulary(model: Any, examples: Sequence[Example]) -> None:
    from variantforge.stages.evaluate.likelihood import vocab_size

    largest, known = max(max(example.ids) for example in examples), vocab_size(model)
    if largest >= known:
        raise EvaluateError(
            f"the tokenizer writes token {largest}, but the model knows {known} tokens only",
            why="Tokenizer and weights do not belong together.",
            next="take both from the same base model",
        )


def scored(
    context: StepContext, model: Any, merged: Any, examples: Sequence[Example], keep: Mapping[int, list[int]]
) -> list[Score]:
    from variantforge.stages.evaluate.likelihood import score

    def progress(done: int, total: int) -> None:
        context.progress(done, total, "example")
        if context.stopping():
            raise Interrupted("stopped while measuring", next="run the same command again")

    return score(model, examples, merged, progress, keep)
