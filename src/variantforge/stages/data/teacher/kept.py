"""Answers on disk the moment they arrive: one line each, in the step's scratch and in a cache that outlives it.

The cache is what makes a dataset that grew by one prompt cost one question. It holds answers under the hash of all
that they depend on, so nothing in it is ever stale; deleting it costs questions, nothing else.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from variantforge.errors import VariantforgeError
from variantforge.fsops import appending, make_folder
from variantforge.hashing import canonical_json, key_of
from variantforge.spec.trainer_args import cache_folder

ANSWERS = "answers.jsonl"
Answer = dict[str, Any]  # "content", "finish" ("stop", "length", ...), and "reasoning_content" where there is one


def answer_files(scratch: Path, identity: Mapping[str, str]) -> list[Path]:
    """Where the answers of a teacher are: in a step's scratch, and in the cache."""
    return [scratch / ANSWERS, cache_folder() / "teacher-answers" / f"{key_of(dict(identity))}.jsonl"]


class Kept:
    """``files``: the first must be writable, the others are a help where they can be had. Safe for several threads."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files, self._lock = files, threading.Lock()
        self._answers: dict[str, Answer] = {}
        for file in reversed(files):
            self._answers |= dict(_read(file))

    def get(self, key: str) -> Answer | None:
        return self._answers.get(key)

    def add(self, key: str, answer: Answer) -> None:
        line = canonical_json([key, answer]).encode() + b"\n"
        with self._lock:
            self._answers[key] = answer
            _append(self._files[0], line)
            for file in self._files[1:]:
                with suppress(OSError, VariantforgeError):
                    _append(file, line)


def _append(file: Path, line: bytes) -> None:
    make_folder(file.parent)
    size = file.stat().st_size if file.exists() else 0
    with appending(file, size) as stream:
        if size and not _ends_a_line(file):  # a kill has cut the last one short
            stream.write(b"\n")
        stream.write(line)


def _ends_a_line(file: Path) -> bool:
    with open(file, "rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"


def _read(file: Path) -> Iterator[tuple[str, Answer]]:
    """The whole lines of a file; what a kill has cut short is passed over."""
    if not file.is_file():
        return
    with open(file, "rb") as stream:
        for line in stream:
            try:
                key, answer = json.loads(line)
                if isinstance(key, str) and isinstance(answer["content"], str) and isinstance(answer["finish"], str):
                    yield key, answer
            except (ValueError, KeyError, TypeError):
                continue
