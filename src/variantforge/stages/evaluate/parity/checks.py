"""Which checks a subject gets, in which order: cheap ones first, and a fresh process loads while they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from variantforge.errors import TemplatesDisagree
from variantforge.stages.evaluate.heldout import Example
from variantforge.stages.evaluate.parity import divergence, folder, weights
from variantforge.stages.evaluate.parity.added_tokens import check_added_tokens
from variantforge.stages.evaluate.parity.llama import running
from variantforge.stages.evaluate.parity.reload import reloading
from variantforge.stages.evaluate.parity.subject import Subject
from variantforge.stages.evaluate.parity.template import compare_templates
from variantforge.stages.evaluate.parity.tokenizer import compare_tokenizers, encoder
from variantforge.stages.evaluate.parity.turns import check_turns
from variantforge.stages.evaluate.runtime_gap import measure_gap, sampled
from variantforge.stages.evaluate.stage import Measured
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.read import dequantized_state

if TYPE_CHECKING:
    import torch

    from variantforge.stages.evaluate.likelihood import Score

_RELOADED = 4  # prompts that the fresh process is asked about
Rows = list[dict[str, Any]]


def check_merged(subject: Subject) -> Measured:
    """Merged weights, as they lie on disk. What adapter and base say beside them, the merge has measured: ``merge``."""
    asked = _asked(subject)
    with reloading(subject.folder, [example.ids[:-1] for example in asked]) as fresh:
        folder.check_quantization(subject.folder, "")
        folder.check_head(subject.folder)
        rows = _turns(subject, subject.tokenizer)
        scores = subject.score(subject.load(subject.artifact), None, asked, _last(asked))
        rows += fresh.compare([example.id for example in asked], _kept(scores))
    told = ("kl_mean", "kl_max", "kl_of_training", "kl_nf4_base", "same_top", "witness")
    merge = {name: subject.artifact.facts[name] for name in told if name in subject.artifact.facts}
    return Measured(rows + _stops(subject), {**subject.facts, "merge": merge})


def check_folder(subject: Subject) -> Measured:
    """A quantized folder that transformers loads."""
    examples = subject.heldout.examples
    asked = _asked(subject)
    with reloading(subject.folder, [example.ids[:-1] for example in asked]) as fresh:
        folder.check_quantization(subject.folder, subject.format)
        rows = _same_tokenizer(subject)
        scores = subject.score(
            subject.load(subject.artifact), _reference(subject), examples, _last(examples[: len(asked)])
        )
        rows += _divergence(examples, scores)
        rows += fresh.compare([example.id for example in asked], _kept(scores))
    return Measured(rows + _stops(subject), {**subject.facts, **divergence.tail(scores)})


def check_gguf(subject: Subject) -> Measured:
    """A GGUF file, in llama.cpp and, its weights dequantized, in torch."""
    assert subject.gguf is not None
    file, examples = GgufFile.open(subject.gguf), subject.heldout.examples
    rows, facts = _in_llama_cpp(subject, file)
    reference = _reference(subject)
    weights.check_head(file, reference.config)
    state = dequantized_state(subject.gguf, reference.config)
    facts |= weights.check_weights(file, state, reference)
    chosen = sampled(examples, subject.params.runtime_positions)
    model = _reference(subject)
    model.load_state_dict(state)
    del state
    scores = subject.score(model, reference, examples, chosen)
    measured = _divergence(examples, scores)
    del model, reference  # llama.cpp loads the file once more
    if chosen:
        tolerance = subject.params.runtime_tolerance
        measure_gap(subject.context, subject.gguf, measured, examples, scores, chosen, tolerance)
    return Measured(rows + measured + _stops(subject), {**subject.facts, **facts, **divergence.tail(scores)})


def _in_llama_cpp(subject: Subject, file: GgufFile) -> tuple[Rows, dict[str, Any]]:
    """Tokens and chats: what needs no arithmetic."""
    tokenizer = subject.tokenizer
    with running(file.path) as llama:
        rows = check_added_tokens(tokenizer, file, llama)
        rows += compare_tokenizers(tokenizer, llama.tokenize, file=file.path.name)
        if not tokenizer.chat_template:
            return rows, {}
        stops = [token for token in subject.stop_ids if llama.ends_with(token)]
        rows += check_turns(tokenizer, stops, name=file.path.name)
        compared, facts = compare_templates(tokenizer, llama, file.chat_template)
        return rows + compared, facts


def _same_tokenizer(subject: Subject) -> Rows:
    from variantforge.stages.tokens import load_tokenizer

    own: Any = load_tokenizer(subject.folder)
    if own.chat_template != subject.tokenizer.chat_template:
        raise TemplatesDisagree(
            f"the {subject.format} folder holds another chat template than the merged model",
            why="A prompt would be written in another way than the model has learned.",
            next="quantize this variant again from its merged model",
        )
    return compare_tokenizers(subject.tokenizer, encoder(own), file=f"the {subject.format} folder") + _turns(
        subject, own
    )


def _turns(subject: Subject, tokenizer: Any) -> Rows:
    return check_turns(tokenizer, subject.stop_ids, name="the folder") if tokenizer.chat_template else []


def _reference(subject: Subject) -> Any:
    assert subject.reference is not None
    return subject.load(subject.reference)


def _divergence(examples: Sequence[Example], scores: Sequence[Score]) -> Rows:
    return [divergence.row_of(*pair) for pair in zip(examples, scores, strict=True)]


def _stops(subject: Subject) -> Rows:
    from variantforge.stages.evaluate.parity.stops import stop_rate

    params = subject.params
    return stop_rate(subject.context, params.stop_prompts, params.stop_tokens) if params.stop_prompts else []


# --- what the fresh process is asked ----------------------------------------------------------------------------------


def _asked(subject: Subject) -> list[Example]:
    """A few examples, each up to its last measured token, which is what is asked for."""
    return [_cut(example) for example in subject.heldout.examples[:_RELOADED]]


def _cut(example: Example) -> Example:
    last = example.targets[-1]
    return replace(example, ids=example.ids[: last + 1], targets=[last])


def _last(examples: Sequence[Example]) -> dict[int, list[int]]:
    return {place: [example.targets[-1]] for place, example in enumerate(examples)}


def _kept(scores: Sequence[Score]) -> list[torch.Tensor]:
    """Log-probabilities at the one position kept of each example that was asked about."""
    return [score.kept[0] for score in scores if score.kept is not None]
