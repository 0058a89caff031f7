"""What is checked: the artifact, the model it was made from, the tokenizer that both should have, and the tokens that
are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.stages.evaluate.heldout import Example, HeldOut
from variantforge.stages.evaluate.parity.divergence import read_examples
from variantforge.stages.evaluate.scoring import check_vocabulary, gguf_of, scored
from variantforge.step import Artifact, StepContext

if TYPE_CHECKING:
    from variantforge.stages.evaluate.likelihood import Score
    from variantforge.stages.evaluate.parity.evaluator import ParityParams


@dataclass(frozen=True)
class Subject:
    """``reference``: the merged model that a quantized subject was made from. ``measured_on``: what ``heldout`` is."""

    context: StepContext
    params: ParityParams
    artifact: Artifact
    reference: Artifact | None
    tokenizer: Any
    heldout: HeldOut
    measured_on: str

    @classmethod
    def of(cls, context: StepContext, params: ParityParams) -> Subject:
        from variantforge.stages.tokens import load_tokenizer

        artifact, reference = context.inputs["model"], context.inputs.get("reference")
        home = reference or artifact
        tokenizer: Any = load_tokenizer(home.path / "model")
        heldout, measured_on = read_examples(
            context,
            tokenizer,
            home.facts["stop_token_ids"],
            max_examples=params.max_examples,
            max_length=params.max_length,
        )
        return cls(context, params, artifact, reference, tokenizer, heldout, measured_on)

    @property
    def gguf(self) -> Path | None:
        return gguf_of(self.artifact)

    @property
    def folder(self) -> Path:
        return self.artifact.path / "model"

    @property
    def home(self) -> Artifact:
        """Whose tokenizer and stop tokens are the right ones."""
        return self.reference or self.artifact

    @property
    def stop_ids(self) -> Sequence[int]:
        ids: list[int] = self.home.facts["stop_token_ids"]
        return ids

    @property
    def format(self) -> str:
        """``nf4``, ``gguf:Q8_0``; '' of merged weights."""
        return str(self.artifact.facts.get("format", "quantized")) if self.reference else ""

    @property
    def facts(self) -> dict[str, Any]:
        """What the figures rest on. A pad token that ends turns is no fault of the file, and those who train it on
        must not mask it away."""
        return {
            "measured_on": self.measured_on,
            "tokens_sha256": self.heldout.digest,
            "pad_ends_turns": self.tokenizer.pad_token_id in self.stop_ids,
        }

    def load(self, artifact: Artifact) -> Any:
        from variantforge.stages.models import device, load_model

        return load_model(artifact.path / "model", dtype=self.params.dtype, device=str(device()))

    def score(
        self, model: Any, reference: Any, examples: Sequence[Example], keep: Mapping[int, list[int]]
    ) -> list[Score]:
        check_vocabulary(model, examples)
        return scored(self.context, model, reference, examples, keep)
