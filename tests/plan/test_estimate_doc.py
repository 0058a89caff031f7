"""docs/memory.md and the planner's constants say what was measured."""

from __future__ import annotations

import json

import pytest
from benchmarks.memory import BEGIN, CASES, DOCS, END, RESULTS, TARGET, predict, summary, table

from variantforge.plan.estimate.machine import Machine
from variantforge.plan.estimate.memory import PROCESS_BYTES

RESULT = json.loads(RESULTS.read_text())


def test_the_table_of_the_docs_is_the_measured_one() -> None:
    between = DOCS.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert between == "\n".join([*table(RESULT), "", summary(RESULT)])


def test_every_case_was_measured_and_lies_within_the_target() -> None:
    assert set(RESULT["cases"]) == set(CASES)
    assert len(CASES) >= 12
    for name, one in RESULT["cases"].items():
        assert abs(one["error"]["tensors"]) <= TARGET, name
        if not one["rough"]:  # docs/memory.md says why some are
            assert abs(one["error"]["process"]) <= TARGET, name


@pytest.mark.parametrize("name", CASES)
def test_what_is_predicted_now_is_what_was_compared(name: str) -> None:
    machine = Machine(RESULT["machine"]["device"], RESULT["machine"]["bf16"], None)
    assert CASES[name] == RESULT["cases"][name]["case"]
    assert predict(CASES[name], machine).tensors == RESULT["cases"][name]["predicted"]["tensors"]


def test_what_the_libraries_hold_is_as_measured() -> None:
    assert PROCESS_BYTES["cpu"] == pytest.approx(RESULT["process_bytes"], rel=0.1)
