"""Which checks a subject gets, in which order: cheap ones first, and a fresh process loads while they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from variantforge.errors import TemplatesDisagree
from variantforge.stages.evaluate.evaluation import Measured
from variantforge.stages.evaluate.heldout import Example
from variantforge.stages.evaluate.parity import divergence, folder, weights
from variantforge.stages.evaluate.parity.added_tokens import check_added_tokens
from variantforge.stages.evaluate.parity.llama import running
from variantforge.stages.evaluate.parity.reload import Reloading, reloading
from variantforge.stages.evaluate.parity.subject import Subject
from variantforge.stages.evaluate.parity.template import compare_templates
from variantforge.stages.evaluate.parity.tokenizer import compare_tokenizers, encoder
from variantforge.stages.evaluate.parity.turns import check_turns
from variantforge.stages.evaluate.runtime_gap import measure_gap, sampled
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gptq import python_that_reads
from variantforge.stages.quantize.read import dequantized_state

if TYPE_CHECKING:
    import torch

    from variantforge.stages.evaluate.likelihood import Score

_RELOADED = 4  # prompts that the fresh process is asked about
_ENDS = 64  # answers whose end is looked at: each takes a distribution over the vocabulary
Rows = list[dict[str, Any]]


def check_merged(subject: Subject) -> Measured:
    """Merged weights, as they lie on disk. What adapter and base say beside them, the merge has measured: ``merge``."""
    examples = subject.heldout.examples
    with reloading(subject.folder, _prompts(examples)) as fresh:
        folder.check_quantization(subject.folder, "")
        folder.check_head(subject.folder)
        rows = _turns(subject, subject.tokenizer)
        scores = subject.score(subject.load(subject.artifact), None, examples, _last(examples))
        rows += [{"id": example.id, **_end(subject, example, score)} for example, score in _each(examples, scores)]
        rows += _reloaded(fresh, examples, scores)
    told = ("kl_mean", "kl_max", "kl_of_training", "kl_nf4_base", "same_top", "witness")
    merge = {name: subject.artifact.facts[name] for name in told if name in subject.artifact.facts}
    return Measured(rows + _stops(subject), {**subject.facts, "merge": merge})


def check_folder(subject: Subject) -> Measured:
    """A quantized folder that transformers loads."""
    examples = subject.heldout.examples
    python = python_that_reads(subject.folder, subject.context)
    with reloading(subject.folder, _prompts(examples), python) as fresh:
        folder.check_quantization(subject.folder, subject.format)
        rows = _same_tokenizer(subject)
        model = subject.load(subject.artifact)
        scores = subject.score(model, _reference(subject), examples, _last(examples))
        rows += _divergence(subject, scores)
        rows += _reloaded(fresh, examples, scores)
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
    model = _with_weights(reference, state)
    del state
    chosen = sampled(examples, subject.params.runtime_positions)
    keep = {place: sorted({*chosen.get(place, ()), *last}) for place, last in _last(examples).items()}
    scores = subject.score(model, reference, examples, keep | {p: c for p, c in chosen.items() if p not in keep})
    measured = _divergence(subject, scores)
    del model, reference  # llama.cpp loads the file once more
    if chosen:
        only = [_at(score, keep.get(place, []), chosen.get(place, [])) for place, score in enumerate(scores)]
        measure_gap(subject.context, subject.gguf, measured, examples, only, chosen, subject.params.runtime_tolerance)
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


def _with_weights(model: Any, state: Mapping[str, torch.Tensor]) -> Any:
    """A model like ``model`` that holds the tensors of ``state`` themselves: no third copy of the weights."""
    from torch.nn import Parameter

    held = {
        id(old): Parameter(state[name].to(old.device, old.dtype), requires_grad=False)
        for name, old in model.named_parameters()
    }
    return deepcopy(model, held)


def _divergence(subject: Subject, scores: Sequence[Score]) -> Rows:
    return [
        divergence.row_of(example, score) | _end(subject, example, score)
        for example, score in _each(subject.heldout.examples, scores)
    ]


def _end(subject: Subject, example: Example, score: Score) -> dict[str, int]:
    return divergence.end_of(example, score, subject.stop_ids)


def _each(examples: Sequence[Example], scores: Sequence[Score]) -> Iterator[tuple[Example, Score]]:
    return zip(examples, scores, strict=True)


def _stops(subject: Subject) -> Rows:
    from variantforge.stages.evaluate.parity.stops import stop_rate

    params = subject.params
    return stop_rate(subject.context, params.stop_prompts, params.stop_tokens) if params.stop_prompts else []


# --- distributions at single positions --------------------------------------------------------------------------------


def _last(examples: Sequence[Example]) -> dict[int, list[int]]:
    """Place -> its last measured position, of the first examples."""
    return {place: [example.targets[-1]] for place, example in enumerate(examples[:_ENDS])}


def _at(score: Score, kept: Sequence[int], wanted: Sequence[int]) -> Score:
    """The score with the distributions at ``wanted`` alone, which are among those at ``kept``."""
    if score.kept is None or not kept or list(kept) == list(wanted):
        return score
    return replace(score, kept=score.kept[[kept.index(position) for position in wanted]])


def _prompts(examples: Sequence[Example]) -> list[list[int]]:
    """What the fresh process is asked about: a few examples, each up to its last measured token."""
    return [example.ids[: example.targets[-1]] for example in examples[:_RELOADED]]


def _reloaded(fresh: Reloading, examples: Sequence[Example], scores: Sequence[Score]) -> Rows:
    asked = examples[:_RELOADED]
    kept = [score.kept[-1] for score in scores[:_RELOADED] if score.kept is not None]
    return fresh.compare([example.id for example in asked], kept)
