"""Questions put to a judge. Answers are kept as they come: in the step's scratch, and in a cache that outlives it, so
that an evaluation with one more prompt costs the questions about that prompt."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import (
    EvaluateError,
    JudgeRefused,
    JudgeUnclear,
    JudgeUnreachable,
    TeacherRefused,
    TeacherUnreachable,
)
from variantforge.hashing import key_of
from variantforge.spec.trainer_args import cache_folder
from variantforge.stages.data.teacher.endpoint import Address, Endpoint
from variantforge.stages.data.teacher.kept import Kept
from variantforge.stages.data.teacher.local import Local
from variantforge.stages.data.teacher.questions import Question
from variantforge.stages.evaluate.judges.planning import JUDGE
from variantforge.stages.evaluate.judges.spec import JudgeSpec
from variantforge.stages.llama_server import how_it_died, served
from variantforge.step import StepContext

if TYPE_CHECKING:
    from variantforge.stages.data.teacher.writing import Teacher

KEPT = "judgements.jsonl"
_LLAMA = "http://localhost/v1"  # behind a socket, where the name says nothing
_TEMPLATE_TOKENS = 1024  # what a chat template may write around messages
_SHOWN = 200

Messages = list[dict[str, Any]]


def ask(context: StepContext, judge: JudgeSpec, asked: Sequence[Messages]) -> list[str]:
    """What the judge answers to each, without its reasoning; equal questions are asked once.

    Raises JudgeUnreachable, JudgeRefused, EvaluateError, and Interrupted when the user asks to stop.
    """
    if not asked:
        return []
    identity = _identity(context, judge)
    sampling = (judge.max_tokens, judge.temperature, 1.0, judge.seed)
    questions = [Question(key_of([identity, one, list(sampling)]), one, *sampling) for one in asked]
    kept = Kept([context.scratch / KEPT, cache_folder() / "judgements" / f"{key_of(identity)}.jsonl"])
    different = list({question.key: question for question in questions}.values())
    _fill(context, judge, different, kept)
    return [str((kept.get(question.key) or {})["content"]) for question in questions]


def refuse_unclear(judge: JudgeSpec, answers: Sequence[str], unread: Sequence[int]) -> None:
    """Raises JudgeUnclear when more of the ``answers`` cannot be read than the judge is allowed."""
    if len(unread) <= judge.unparsed_at_most * len(answers):
        return
    example = " ".join(answers[unread[0]].split())[-_SHOWN:]
    raise JudgeUnclear(
        f"{len(unread):,} of {len(answers):,} judgements hold no verdict that can be read",
        why=f"At most {judge.unparsed_at_most:.0%} may. One of them ends: {example!r}",
        next=f"ask a stronger judge, raise judge.max_tokens ({judge.max_tokens}) if they are cut off, "
        "or, if you can live with it, judge.unparsed_at_most",
    )


def _identity(context: StepContext, judge: JudgeSpec) -> dict[str, str]:
    """What the judge is: as long as this holds, answers that were kept are its answers."""
    step = context.step
    if JUDGE in step.pins:
        return {"gguf": step.pins[JUDGE].digest}
    if JUDGE in step.inputs:
        return {"artifact": step.inputs[JUDGE]}
    return {"endpoint": str(judge.endpoint), "model": judge.model}


def _fill(context: StepContext, judge: JudgeSpec, asked: Sequence[Question], kept: Kept) -> None:
    open_ones = [question for question in asked if kept.get(question.key) is None]
    done = len(asked) - len(open_ones)
    context.progress(done, len(asked), "judgement")
    if not open_ones:
        return
    with _on_the_bench(context, judge, open_ones, kept) as (bench, wanted), _as_judge():
        for question, answer in bench.answers(asked if wanted else open_ones):
            if kept.get(question.key) is None:
                kept.add(question.key, answer)
                done += 1
                context.progress(done, len(asked), "judgement")


@contextmanager
def _as_judge() -> Iterator[None]:
    """A judge is asked as a teacher is, and what goes wrong is told of a judge."""
    try:
        yield
    except TeacherUnreachable as error:
        raise JudgeUnreachable(error.what, why=error.why, next=error.next) from error
    except TeacherRefused as error:
        raise JudgeRefused(error.what, why=error.why, next=error.next) from error


@contextmanager
def _on_the_bench(
    context: StepContext, judge: JudgeSpec, open_ones: Sequence[Question], kept: Kept
) -> Iterator[tuple[Teacher, bool]]:
    """The judge, and whether it wants all questions or the open ones alone: batches are made of all."""
    step, hints = context.step, context.step.hints
    if JUDGE in step.pins:
        with _gguf(context, judge, open_ones) as endpoint:
            yield endpoint, False
    elif JUDGE in step.inputs:
        model = context.inputs[JUDGE]
        known = lambda key: kept.get(key) is not None  # noqa: E731
        yield Local(model.path / "model", model.facts["stop_token_ids"], known, context.stopping), True
    else:
        address = Address(
            str(judge.endpoint), judge.model, _api_key(hints), str(hints.get("api_key_env", "")), who=JUDGE
        )
        yield Endpoint(address, **hints.get("pace", {}), stopping=context.stopping), False


@contextmanager
def _gguf(context: StepContext, judge: JudgeSpec, open_ones: Sequence[Question]) -> Iterator[Endpoint]:
    model = Path(context.step.pins[JUDGE].at)
    longest = max(sum(len(str(part).encode()) for part in one.messages) for one in open_ones)
    tokens = longest + judge.max_tokens + _TEMPLATE_TOKENS
    with served(model, tokens, failure=EvaluateError) as (socket, process):
        address = Address(_LLAMA, model.name, socket=socket, who=JUDGE)
        dead = lambda: how_it_died(process)  # noqa: E731
        yield Endpoint(address, timeout_s=3600.0, concurrency=1, stopping=context.stopping, dead=dead)


def _api_key(hints: Mapping[str, Any]) -> str:
    name = hints.get("api_key_env")
    if name and not os.environ.get(name):
        raise JudgeRefused(
            f"the environment variable {name} is not set, and the judge's endpoint wants a key",
            next=f"export {name}=…   then run the same command again",
        )
    return os.environ.get(name, "") if name else ""
