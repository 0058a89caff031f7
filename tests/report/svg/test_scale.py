"""Axes hold what is put on them, and mark round values."""

from __future__ import annotations

from math import floor, log10

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variantforge.report.svg.scale import Scale, scale_over, tick_label, tick_step

figures = st.floats(-1e6, 1e6).map(lambda value: float(f"{value:.6g}"))


@given(st.lists(figures, min_size=1, max_size=20), st.booleans())
def test_every_value_stands_between_the_ends_of_the_axis(values: list[float], downwards: bool) -> None:
    start, end = (200.0, 10.0) if downwards else (10.0, 200.0)
    scale = scale_over(values, start, end)
    for value in values:
        assert 10 - 1e-6 <= scale(value) <= 200 + 1e-6


@given(st.floats(1e-6, 1e6), st.integers(2, 12))
def test_ticks_are_round_and_about_as_many_as_are_asked_for(span: float, about: int) -> None:
    step = tick_step(span, about)
    assert round(step / 10.0 ** floor(log10(step) + 1e-9), 6) in (1, 2, 2.5, 5)
    ticks = Scale(0.0, span, 0.0, 100.0).ticks(about)
    assert about / 2.6 <= len(ticks) <= about + 1


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.integers(2, 8))
def test_ticks_lie_on_the_axis_and_no_two_are_called_the_same(low: float, span: float, about: int) -> None:
    scale = Scale(low, low + span, 0.0, 100.0)
    labels = scale.labels(about)
    assert all(-1e-3 <= scale(tick) <= 100 + 1e-3 for tick, _ in labels)
    assert len({label for _, label in labels}) == len(labels)


@pytest.mark.parametrize(
    ("tick", "step", "text"),
    [
        (0.25, 0.25, "0.25"),
        (-0.1, 0.1, "−0.1"),
        (-1e-17, 0.1, "0.0"),
        (1500, 500, "1,500"),
        (2.5, 2.5, "2.5"),
        (3e6, 1e6, "3e+06"),
    ],
)
def test_ticks_have_the_decimals_that_their_step_needs(tick: float, step: float, text: str) -> None:
    assert tick_label(tick, step) == text


def test_an_axis_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room between its ends"):
        tick_step(0.0, 5)


def test_what_lies_beyond_the_axis_is_kept_at_its_end() -> None:
    scale = Scale(0.0, 1.0, 0.0, 100.0)
    assert (scale.kept(-3.0), scale.kept(0.5), scale.kept(9.0)) == (0.0, 50.0, 100.0)
