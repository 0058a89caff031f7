"""kill -9 at any moment, then apply: nothing finished is run again, nothing half-written is trusted, equal bytes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.family import write_family
from tests.e2e.kills import Point, apply, digests

LEAST_POINTS = 40


@pytest.fixture(scope="module")
def undisturbed(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Point]]:
    """The family applied in one go: its folder, and every crossing on the way."""
    folder = tmp_path_factory.mktemp("undisturbed")
    trace = folder / "trace.jsonl"
    assert apply(write_family(folder, tiny_llama), folder / "store", trace=trace) == 0
    crossed = [(label, index) for label, index, _ in map(json.loads, trace.read_text().splitlines())]
    order = list(dict.fromkeys(label for label, _ in crossed))
    before = {label: frozenset(order[: order.index(label) + 1]) for label in order}
    return folder, [Point(label, index, before[label]) for label, index in crossed]


def chosen(points: list[Point], stride: int) -> list[Point]:
    """Every stage's first and last crossing, and every ``stride``-th between."""
    by_label: dict[str, list[Point]] = {}
    for point in points:
        by_label.setdefault(point.label, []).append(point)
    kept = {point for group in by_label.values() for point in (group[0], group[-1], *group[::stride])}
    return [point for point in points if point in kept]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_every_chosen_point_the_published_bytes_are_those_of_an_undisturbed_run(
    undisturbed: tuple[Path, list[Point]], tiny_llama: Path, tmp_path: Path
) -> None:
    reference, points = undisturbed
    family = write_family(tmp_path, tiny_llama)
    targets = chosen(points, stride=7)
    assert len(targets) >= LEAST_POINTS
    kills = [apply(family, tmp_path / "store", kill_at=point) for point in targets]
    assert kills.count(-9) >= LEAST_POINTS
    assert apply(family, tmp_path / "store") == 0
    assert digests(tmp_path / "published") == digests(reference / "published")
    assert done_more_than_once(tmp_path / "store") == {}
    assert not list(tmp_path.rglob("*.tmp-*"))
    assert not any((tmp_path / "store" / "scratch").iterdir())


def done_more_than_once(store: Path) -> dict[str, int]:
    with sqlite3.connect(store / "journal.sqlite") as journal:
        rows = journal.execute("SELECT key FROM steps WHERE outcome = 'done'").fetchall()
    return {key: count for key, count in Counter(key for (key,) in rows).items() if count > 1}


@pytest.mark.slow
def test_a_second_apply_does_nothing_and_a_changed_line_does_what_depends_on_it(
    undisturbed: tuple[Path, list[Point]], tiny_llama: Path, tmp_path: Path
) -> None:
    reference, _ = undisturbed
    for name in ("store", "published", "rows.jsonl"):
        source = reference / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    trace = tmp_path / "trace.jsonl"
    assert apply(write_family(tmp_path, tiny_llama), tmp_path / "store", trace=trace) == 0
    assert labels(trace) == set()
    assert apply(write_family(tmp_path, tiny_llama, description="new words"), tmp_path / "store", trace=trace) == 0
    assert {label.split()[0] for label in labels(trace)} <= {"card", "publish"}
    trace.unlink()
    assert (
        apply(write_family(tmp_path, tiny_llama, rank=4, description="new words"), tmp_path / "store", trace=trace) == 0
    )
    ran = labels(trace)
    assert "train lora" in ran
    assert not {label for label in ran if "qlora" in label or label.startswith(("base", "data"))}


def labels(trace: Path) -> set[str]:
    """Steps that crossed anything, but for the locking around them all."""
    return {json.loads(line)[0] for line in trace.read_text().splitlines()} - {""} if trace.exists() else set()
