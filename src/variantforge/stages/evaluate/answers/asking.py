"""All answers to all prompts: those that an earlier try has kept, and the others from the subject itself."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from variantforge.stages.data.teacher.kept import Kept
from variantforge.stages.evaluate.again import batch_limit
from variantforge.stages.evaluate.answers import folder, gguf
from variantforge.stages.evaluate.answers.form import Answer, Ask, Prompt, Sampling
from variantforge.step import StepContext

KEPT = "answers.jsonl"
Dtype = Literal["float32", "bfloat16"]


def answers(
    context: StepContext, prompts: Sequence[Prompt], sampling: Sampling, *, dtype: Dtype = "float32"
) -> list[list[Answer]]:
    """``sampling.samples`` answers to each prompt, in their order, by ``context.inputs["model"]``.

    A folder is run by transformers, in batches; a GGUF file by llama.cpp's own server. Each answer is kept in the
    step's scratch, so that a try after a kill goes on. Greedy answers and samples hang on the item alone, not on what
    else is asked, but for the last digits of a batch's sums: two tokens that are as likely as each other but for one
    in a million may change places.

    Raises EvaluateError, with the item, when one cannot be asked or answered; Interrupted when the user asks to stop.
    """
    if len({prompt.id for prompt in prompts}) < len(prompts):
        raise ValueError("two prompts have one id")
    asks = [Ask(prompt, sampling, sample) for prompt in prompts for sample in range(sampling.samples)]
    known = Kept([context.scratch / KEPT])
    open_ones = [ask for ask in asks if known.get(ask.key) is None]
    if open_ones:
        _ask(context, asks, {ask.key for ask in open_ones}, known, dtype)
    return [[_told(known, Ask(prompt, sampling, sample)) for sample in range(sampling.samples)] for prompt in prompts]


def _ask(context: StepContext, asks: Sequence[Ask], open_keys: Collection[str], known: Kept, dtype: Dtype) -> None:
    done, began, written = len(asks) - len(open_keys), time.monotonic(), 0

    def running(part: float) -> None:
        context.progress(done + part, len(asks), "answer")

    running(0)
    for ask, answer in _coming(context, asks, open_keys, dtype, running):
        if known.get(ask.key) is None:
            known.add(ask.key, {"content": answer.text, "finish": answer.finish, "tokens": answer.tokens})
            done, written = done + 1, written + answer.tokens
            speed = written / max(time.monotonic() - began, 1e-9)
            context.progress(done, len(asks), "answer", tokens_per_s=round(speed, 1))


def _coming(
    context: StepContext, asks: Sequence[Ask], open_keys: Collection[str], dtype: Dtype, running: folder.Running
) -> Iterable[tuple[Ask, Answer]]:
    model = context.inputs["model"].path
    file = model / "model.gguf"
    if file.is_file():
        waiting = [ask for ask in asks if ask.key in open_keys]
        return gguf.answers(waiting, file, stopping=context.stopping, slots=batch_limit(gguf.SLOTS))
    return folder.answers(
        asks, open_keys, model / "model", dtype=dtype, stopping=context.stopping, running=running, note=context.note
    )


def _told(known: Kept, ask: Ask) -> Answer:
    told = known.get(ask.key)
    assert told is not None  # every one was asked for
    return Answer(told["content"], told["tokens"], told["finish"])
