"""How many of a row's tests the program in the answer passes; run in the sandbox, judged outside of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from variantforge import sandbox
from variantforge.errors import DataError
from variantforge.spec.family import Section
from variantforge.stages.train.processes import ranks
from variantforge.stages.train.rewards.reward import Answer, Plain, Score

if TYPE_CHECKING:
    from variantforge.step import Pin

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_SAID = ("timeout", "wrong answer", "died", "forged reply", "too much output", "too large a result")


class UnitTestsParams(Section):
    score: Literal["share", "all"] = Field("share", description="the share of tests passed, or 1 where all are, else 0")
    code: Literal["fenced", "whole"] = Field(
        "fenced", description="the program is the last ``` block of the answer (all of it without one), or all of it"
    )
    timeout_s: float = Field(10.0, gt=0, le=600, description="wall time of one program with all its tests")
    memory_mb: int = Field(512, ge=64, le=65536, description="memory of one program")


class UnitTests(Plain):
    """A row brings ``tests`` (and, for tests of one function, ``entry_point``): see ``sandbox.cases``."""

    Params = UnitTestsParams
    reads = "tests"
    sandboxed = True

    def __init__(self, params: Any, pins: Mapping[str, Pin]) -> None:
        super().__init__(params, pins)
        sandbox.require()
        self._limits = sandbox.Limits(seconds=params.timeout_s, memory_mb=params.memory_mb)
        self._read: dict[str, sandbox.Tests] = {}

    def score(self, answers: Sequence[Answer]) -> Sequence[Score]:
        jobs = [(self.program(answer.text), self._tests(answer.row)) for answer in answers]
        at_once = max(1, (os.cpu_count() or 1) // ranks.here())  # the processes of a training all grade at this time
        return [self._scored(grade) for grade in sandbox.grade_all(jobs, self._limits, workers=at_once)]

    def program(self, text: str) -> str:
        blocks = _FENCE.findall(text) if self.params.code == "fenced" else []
        return blocks[-1] if blocks else text

    def _scored(self, grade: sandbox.Grade) -> Score:
        value = grade.share if self.params.score == "share" else float(grade.whole)
        first = next((reason for reason in grade.reasons if reason), "")
        return Score(value, first if first in _SAID else first.partition(":")[0])

    def _tests(self, row: Mapping[str, Any]) -> sandbox.Tests:
        if row["id"] not in self._read:
            try:
                self._read[row["id"]] = read_tests(row)
            except sandbox.BadTests as error:
                raise DataError(
                    f"the tests of row {row['id']} of '{row['source']}' cannot be used",
                    why=str(error),
                    next="mend them, or take the row out",
                ) from error
        return self._read[row["id"]]


def read_tests(row: Mapping[str, Any]) -> sandbox.Tests:
    """The cases of a row: its ``tests`` are Python, or the JSON of a list of {input, output}. Raises BadTests."""
    tests = row["tests"]
    if tests.startswith("["):
        try:
            tests = json.loads(tests)
        except ValueError as error:
            raise sandbox.BadTests(f"tests that begin with '[' are JSON: {error}") from None
    return sandbox.read_tests(tests, row.get("entry_point"))
