"""Prompts of a dataset -> questions for a teacher, each known by the hash of all that its answer depends on."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variantforge.errors import DataError
from variantforge.hashing import key_of
from variantforge.spec.family import TeacherDataset
from variantforge.stages.data.split import rank
from variantforge.stages.data.teacher.planning import KINDS
from variantforge.stages.rows import HELDOUT, TRAIN, kind_of, read_rows

_LIMIT_SALT = "limit"
Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Question:
    """``messages`` are sent as they are; ``key`` is the hash of teacher, messages and sampling."""

    key: str
    messages: Messages
    max_tokens: int
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class Prompt:
    """``place``: for messages to people. ``heldout``: the side that its row stands on, and its answers will."""

    place: str
    messages: Messages
    heldout: bool

    @property
    def hash(self) -> str:
        return key_of(self.messages)


@dataclass
class Prompts:
    """Of one dataset, each once. ``passed_over``: why how many rows are not asked."""

    prompts: list[Prompt]
    passed_over: Counter[str]


def read_prompts(folder: Path, section: TeacherDataset) -> Prompts:
    """Raises DataError for rows that cannot be asked: plain text, pairs."""
    passed: Counter[str] = Counter()
    found: dict[str, Prompt] = {}
    for prompt in _all(folder, section.system, passed):
        if prompt.hash in found:
            passed["asked already"] += 1
        found.setdefault(prompt.hash, prompt)
    chosen = found
    if section.limit is not None and len(found) > section.limit:
        kept = set(heapq.nsmallest(section.limit, found, key=lambda hash: (rank(_LIMIT_SALT, hash), hash)))
        passed["over the limit"] = len(found) - section.limit
        chosen = {hash: prompt for hash, prompt in found.items() if hash in kept}
    return Prompts(list(chosen.values()), passed)


def _all(folder: Path, system: str | None, passed: Counter[str]) -> Iterator[Prompt]:
    for file in (HELDOUT, TRAIN):  # a prompt of both sides is held out
        for row in read_rows(folder / file):
            messages = _asked(row)
            if "tools" in row or any("tool_calls" in one or one["role"] == "tool" for one in messages):
                passed["with tools"] += 1
            elif not any(one["role"] == "user" for one in messages):
                passed["without a question"] += 1
            else:
                first = [{"role": "system", "content": system}] if system and messages[0]["role"] != "system" else []
                yield Prompt(f"row {row['id']} of '{row['source']}'", [*first, *messages], file == HELDOUT)


def _asked(row: Mapping[str, Any]) -> Messages:
    """All messages before the last answer."""
    kind = kind_of(row)
    if kind not in KINDS:
        raise DataError(
            f"row {row['id']} of '{row['source']}' is of the kind {kind}, and a teacher is asked chats or prompts",
            next="name a dataset of such rows in 'prompts'",
        )
    messages = list(row["prompt"] if kind == "prompt_only" else row["messages"])
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    asked = messages[: answers[-1]] if kind == "messages" and answers else messages
    return [{key: one[key] for key in ("role", "content", "tool_calls") if key in one} for one in asked]


def questions(prompt: Prompt, section: TeacherDataset, teacher: Mapping[str, Any]) -> Iterator[Question]:
    """One for each sample. ``teacher``: what it is, as it enters keys."""
    for sample in range(section.samples):
        sampling = (section.max_tokens, section.temperature, section.top_p, section.seed + sample)
        yield Question(key_of([dict(teacher), prompt.messages, list(sampling)]), prompt.messages, *sampling)
