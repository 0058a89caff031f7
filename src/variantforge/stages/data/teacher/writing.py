"""The step in which a teacher writes rows: prompts read, each asked once, answers kept as they come, rows sifted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from variantforge.errors import DataError, TeacherRefused
from variantforge.spec.family import DeduplicateSpec, TeacherDataset
from variantforge.stages.data import clean
from variantforge.stages.data.sources import Record
from variantforge.stages.data.teacher.asking import Asking, asking_of
from variantforge.stages.data.teacher.endpoint import Address, Endpoint
from variantforge.stages.data.teacher.kept import Answer, Kept, answer_files
from variantforge.stages.data.teacher.local import Local
from variantforge.stages.data.teacher.planning import PROMPTS, TEACHER, identity_of, key_for, missing_key, section_of
from variantforge.stages.data.teacher.questions import Prompt, Prompts, Question, questions, read_prompts
from variantforge.stages.llama_server import how_it_died, served
from variantforge.stages.rows import content_of, row_id
from variantforge.step import Step, StepContext

_LLAMA = "http://localhost/v1"  # behind a socket, where the name says nothing
_UNCLEAN = ("on_secrets", "on_broken_unicode")


class Teacher(Protocol):
    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]: ...


def write_answers(context: StepContext) -> None:
    """Does the step. Raises TeacherUnreachable, TeacherRefused, DataError when nothing can be used, Interrupted."""
    params = context.step.params
    section = section_of(context.step)
    asked = read_prompts(context.inputs[PROMPTS].path, section)
    if not asked.prompts:
        raise DataError(f"there are no prompts to ask for dataset '{params['name']}'", why=_told(asked.passed_over))
    identity = identity_of(context.step)
    by_prompt = {prompt.hash: list(questions(prompt, section, identity)) for prompt in asked.prompts}
    kept = Kept(answer_files(context.scratch, identity))
    _ask(context, section, by_prompt, kept)
    rows = _Rows(asked.prompts, by_prompt, kept)
    if not any(rows):
        raise DataError(
            f"not one answer of the teacher can be used for dataset '{params['name']}'",
            why=_told(rows.dropped),
            next=f"raise {context.step.hints['at_key']}.max_tokens, or ask another teacher",
        )
    tally = clean.sift(context, rows, _rules(params, rows))
    _tell(context, asked, rows)
    context.write_facts(
        {
            **tally.facts,
            "prompts": len(asked.prompts),
            "passed_over": dict(sorted(asked.passed_over.items())),
            "answers_dropped": dict(sorted(rows.dropped.items())),
            "fraction": params["fraction"],
        }
    )


def _ask(
    context: StepContext, section: TeacherDataset, by_prompt: Mapping[str, Sequence[Question]], kept: Kept
) -> None:
    asked = [question for each in by_prompt.values() for question in each]
    open_ones = [question for question in asked if kept.get(question.key) is None]
    done, began, new = len(asked) - len(open_ones), time.monotonic(), 0
    if open_ones:
        _refuse_without_key(context.step)
    _tell_ahead(context, asking_of(context.step, len(by_prompt), kept=done))
    context.progress(done, len(asked), "answer")
    if not open_ones:
        return
    with _teacher(context, section, open_ones, kept) as (teacher, wants):
        for question, answer in teacher.answers(wants(asked)):
            if kept.get(question.key) is not None:
                continue
            kept.add(question.key, answer)
            new += 1
            pace = new * 60 / max(time.monotonic() - began, 1e-9)
            context.progress(done + new, len(asked), "answer", answers_per_minute=round(pace, 1))


@contextmanager
def _teacher(
    context: StepContext, section: TeacherDataset, open_ones: Sequence[Question], kept: Kept
) -> Iterator[tuple[Teacher, Any]]:
    """The teacher, and which of all questions it wants to be given."""
    hints, step = context.step.hints, context.step
    only_open = lambda asked: [one for one in asked if kept.get(one.key) is None]  # noqa: E731
    if TEACHER in step.pins:
        model = Path(step.pins[TEACHER].at)
        longest = max(sum(len(str(part).encode()) for part in one.messages) for one in open_ones)
        with served(model, longest + section.max_tokens + 256) as (socket, process):
            address = Address(_LLAMA, model.name, socket=socket)
            dead = lambda: how_it_died(process)  # noqa: E731
            endpoint = Endpoint(address, timeout_s=3600.0, concurrency=1, stopping=context.stopping, dead=dead)
            yield endpoint, only_open
        return
    models = [artifact for role, artifact in context.inputs.items() if role != PROMPTS]
    if models:
        known = lambda key: kept.get(key) is not None  # noqa: E731
        yield Local(models[0].path / "model", models[0].facts["stop_token_ids"], known, context.stopping), list
        return
    told = step.params[TEACHER]
    key = next(iter(key_for(step).values()), "")
    address = Address(told["endpoint"], told["model"], key, hints.get("api_key_env", ""), at_key=hints["at_key"])
    yield Endpoint(address, **hints.get("pace", {}), stopping=context.stopping, note=context.note), only_open


def _refuse_without_key(step: Step) -> None:
    if name := missing_key(step):
        raise TeacherRefused(
            f"the environment variable {name} is not set, and the teacher's endpoint wants a key",
            next=f"export {name}=…   then run the same command again",
        )


class _Rows:
    """Answers as records, in the order of the prompts. ``dropped``: why how many answers are no rows."""

    def __init__(self, prompts: Sequence[Prompt], by_prompt: Mapping[str, Sequence[Question]], kept: Kept) -> None:
        self._prompts, self._by_prompt, self._kept = prompts, by_prompt, kept
        self.dropped: Counter[str] = Counter()
        self._sides: dict[str, bool] = {}

    def __iter__(self) -> Iterator[Record]:
        self.dropped.clear()
        for number, prompt in enumerate(self._prompts, 1):
            for question in self._by_prompt[prompt.hash]:
                answer = self._kept.get(question.key) or {"content": "", "finish": "missing"}
                why = _why_not(answer)
                if why:
                    self.dropped[why] += 1
                else:
                    content = {"messages": [*prompt.messages, _message(answer)]}
                    self._sides.setdefault(row_id(content_of(content)), prompt.heldout)
                    yield Record(f"the answer to {prompt.place}", content, number / len(self._prompts))

    def is_heldout(self, id: str) -> bool:
        return self._sides[id]


def _why_not(answer: Answer) -> str:
    """Why an answer is no row, '' when it is one."""
    if answer["finish"] == "tool_calls":
        return "called a tool"
    if answer["finish"] not in ("stop", "eos", "end_turn"):
        return "too long" if answer["finish"] == "length" else f"ended by {answer['finish']}"
    return "" if answer["content"].strip() else "empty"


def _message(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"role": "assistant"}
    return told | {key: answer[key].strip() for key in ("content", "reasoning_content") if key in answer}


def _rules(params: Mapping[str, Any], rows: _Rows) -> clean.Rules:
    return clean.Rules(
        params["name"],
        fraction=params["fraction"],
        deduplicate=DeduplicateSpec(**params.get("deduplicate", {})).exact,
        skip_bad=params["on_bad_row"] == "skip",
        unclean={key: params[key] for key in _UNCLEAN if key in params},
        side_of=rows.is_heldout,
    )


def _tell_ahead(context: StepContext, asking: Asking) -> None:
    """Before the first question is asked."""
    pace = f"; {asking.how_long}" if asking.to_ask and asking.how_long else ""
    context.note(f"{asking.who} is asked for {asking.how_many}{pace}")


def _tell(context: StepContext, asked: Prompts, rows: _Rows) -> None:
    name = context.step.params["name"]
    if asked.passed_over:
        context.note(f"{name}: prompts that were not asked: {_told(asked.passed_over)}")
    if rows.dropped:
        context.note(f"{name}: answers that were dropped: {_told(rows.dropped)}")


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{why}: {count:,}" for why, count in counts.most_common())
