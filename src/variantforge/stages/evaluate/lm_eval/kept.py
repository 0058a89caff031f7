"""Scores on disk as they come, in the step's scratch: a try after a kill goes on where the last one was."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Mapping
from pathlib import Path

from variantforge.fsops import appending
from variantforge.stages.evaluate.lm_eval.prefixes import Request
from variantforge.stages.evaluate.lm_eval.scores import Scored

NAME = "loglikelihoods.jsonl"


class Kept:
    """Request -> score. Scratch belongs to one step, so to one model; a line that a kill cut short is passed over."""

    def __init__(self, scratch: Path) -> None:
        self._file = scratch / NAME
        self._scores: dict[str, Scored] = {}
        if self._file.is_file():
            for line in self._file.read_text(encoding="ascii", errors="replace").splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            key, logprob, greedy = json.loads(line)
            self._scores[str(key)] = Scored(float(logprob), bool(greedy))
        except (ValueError, TypeError):
            return

    def get(self, request: Request) -> Scored | None:
        return self._scores.get(_key(request))

    def add(self, scores: Mapping[Request, Scored]) -> None:
        found = {_key(request): one for request, one in scores.items()}
        self._scores |= found
        lines = [json.dumps([key, one.logprob, one.greedy]) for key, one in found.items()]
        size = self._file.stat().st_size if self._file.is_file() else 0
        with appending(self._file, size) as file:
            file.write("".join(f"\n{line}" for line in lines).encode())


def _key(request: Request) -> str:
    digest = hashlib.sha256(array("q", request.context).tobytes())
    digest.update(b"|" + array("q", request.continuation).tobytes())
    return digest.hexdigest()[:32]
