"""How figures read."""

from __future__ import annotations

import pytest

from variantforge.cli.words import counted, duration, figure, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (270_123_456, "270.1 MB"), (8e9, "8.0 GB"), (2.5e15, "2500.0 TB")],
)
def test_sizes(value: float, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.7, "1 min 0 s"), (83, "1 min 23 s"), (7260, "2 h 1 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.23456, "1.235"), (0.00123456, "0.001235"), (54721.2, "54,721"), (-1200.0, "-1,200"), (2, "2")],
)
def test_figures(value: float, text: str) -> None:
    assert figure(value) == text


def test_counts() -> None:
    assert [counted(number, "step") for number in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]
