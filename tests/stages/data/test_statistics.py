"""Figures about rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stages.data.workbench import chat
from variantforge.spec.family import TrainSpec
from variantforge.stages.data.preview import choose
from variantforge.stages.data.statistics import histogram, lengths_of
from variantforge.stages.rows import make_row
from variantforge.stages.train.window import reach_of

lengths = st.lists(st.integers(1, 5000), min_size=1, max_size=200)


@given(lengths)
def test_every_row_stands_in_one_bucket_and_buckets_leave_no_gap(lengths: list[int]) -> None:
    buckets = histogram(lengths)
    assert sum(rows for _, _, rows in buckets) == len(lengths)
    assert len(buckets) <= 8
    assert buckets[0][0] == 0
    assert all(after[0] == before[1] + 1 for before, after in pairwise(buckets))
    assert buckets[-1][0] <= max(lengths) <= buckets[-1][1]


@given(lengths)
def test_percentiles_are_lengths_of_rows_in_order(lengths: list[int]) -> None:
    found = lengths_of(lengths)
    assert found is not None
    assert found.p50 <= found.p90 <= found.p99 <= found.max == max(lengths)
    assert {found.p50, found.p90, found.p99} <= set(lengths)
    assert sum(length <= found.p90 for length in lengths) >= 0.9 * len(lengths)


def test_lengths_of_nothing_are_none() -> None:
    assert lengths_of([]) is None


def test_a_preview_takes_one_row_of_each_source_and_kind_first() -> None:
    rows = [make_row("a", chat(f"q{n}")) for n in range(5)]
    rows += [make_row("b", {"text": "t"}), make_row("b", chat("last"))]
    assert [row["source"] for row in choose(rows, 4)] == ["a", "b", "b", "a"]
    assert choose(rows, 1) == rows[:1]
    assert len(choose(rows, 99)) == 7


@pytest.mark.parametrize(
    ("method", "args", "reach"),
    [
        ("sft", {}, (1024, slice(None, 1024))),
        ("sft", {"max_length": 64}, (64, slice(None, 64))),
        ("sft", {"max_length": 64, "truncation_mode": "keep_end"}, (64, slice(-64, None))),
        ("sft", {"max_length": 64, "packing": True}, (64, slice(None, 64))),
        ("continued", {"max_length": 64}, (None, slice(None))),
    ],
)
def test_what_of_a_row_is_read_is_what_the_training_reads(method: str, args: dict[str, Any], reach: Any) -> None:
    assert reach_of(TrainSpec(method=method, args=args)) == reach
