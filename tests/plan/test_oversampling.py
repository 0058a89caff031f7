"""How often rows would be read, told before they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stages.data.workbench import Workbench, chats, write_jsonl
from variantforge.plan.oversampling import Reading, readings
from variantforge.plan.plan import Plan
from variantforge.step import Artifact, Step


class Made:
    """A shelf that holds the rows of the datasets named."""

    def __init__(self, bench: Workbench, *datasets: str) -> None:
        self._made = {bench.step(name).key: bench.rows(name) for name in datasets}

    def keys(self, stage: str) -> set[str]:
        return set(self._made)

    def has(self, step: Step) -> bool:
        return step.key in self._made

    def find(self, step: Step) -> Artifact | None:
        return self._made.get(step.key)


def told(folder: Path, made: str, **data: Any) -> list[Reading]:
    write_jsonl(folder / "a.jsonl", chats(50, "a"))
    write_jsonl(folder / "b.jsonl", chats(20, "b"))
    datasets = {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}
    bench = Workbench(folder, datasets, data=data, evaluate={}).plan()
    plan = Plan(bench.family, bench.desk.steps, bench.desk.places)
    found = readings(plan, Made(bench, *made), [bench.step("mix", "v").key])
    assert set(found) <= {bench.step("mix", "v").key}
    return next(iter(found.values()), [])


def test_epochs_are_told_with_the_counts_that_are_known(tmp_path: Path) -> None:
    assert told(tmp_path, "a", epochs={"a": 2, "b": 0.5}) == [Reading("a", 50, 2.0), Reading("b", None, 0.5)]


def test_all_exhausted_tells_the_repeats_once_all_sources_are_counted(tmp_path: Path) -> None:
    data = {"mix": {"a": 1, "b": 1}, "stopping_strategy": "all_exhausted"}
    assert told(tmp_path, "ab", **data) == [Reading("a", 50, 1.0), Reading("b", 20, 2.5)]


@pytest.mark.parametrize("made", ["", "a"])
def test_what_is_not_counted_yet_is_told_as_unknown(tmp_path: Path, made: str) -> None:
    data = {"mix": {"a": 1, "b": 1}, "stopping_strategy": "all_exhausted"}
    assert [one.times for one in told(tmp_path, made, **data)] == [None, None]


@pytest.mark.parametrize("data", [{"mix": {"a": 3, "b": 1}}, {"epochs": {"a": 1, "b": 1}}])
def test_where_no_row_is_repeated_nothing_is_told(tmp_path: Path, data: dict[str, Any]) -> None:
    assert told(tmp_path, "ab", **data) == []


def test_what_is_told_is_what_the_mix_then_does(tmp_path: Path) -> None:
    data = {"mix": {"a": 1, "b": 3}, "stopping_strategy": "all_exhausted"}
    expected = {one.source: round((one.rows or 0) * (one.times or 0)) for one in told(tmp_path, "ab", **data)}
    datasets = {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}
    mixed = Workbench(tmp_path, datasets, data=data, evaluate={}).plan().mix()
    assert {name: facts["train"] for name, facts in mixed.facts["sources"].items()} == expected
