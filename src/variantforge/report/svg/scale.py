"""Axes: where a value stands on a line, and which round values are marked on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, log10

_STEPS = (1, 2, 2.5, 5, 10)
_SLACK = 1e-9  # of a step: what rounding may move a tick


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` on a line from ``start`` to ``end`` (pixels; ``end`` may be the smaller)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def kept(self, value: float) -> float:
        """Where the value stands, or the end of the line that it lies beyond."""
        return self(min(max(value, self.low), self.high))

    def ticks(self, about: int = 5) -> list[float]:
        """Round values on the axis, about so many."""
        step = tick_step(self.high - self.low, about)
        first, last = ceil(self.low / step - _SLACK), floor(self.high / step + _SLACK)
        return [number * step for number in range(first, last + 1)]

    def labels(self, about: int = 5) -> list[tuple[float, str]]:
        """Ticks with their words: all with as many decimals as the step has."""
        step = tick_step(self.high - self.low, about)
        return [(tick, tick_label(tick, step)) for tick in self.ticks(about)]


def scale_over(values: Iterable[float], start: float, end: float, *, pad: float = 0.06) -> Scale:
    """A scale that holds all values, with some room at both ends; one value alone gets room around it."""
    told = list(values)
    low, high = min(told), max(told)
    room = (high - low) * pad if high > low else (abs(high) * 0.1 or 1.0)
    return Scale(low - room, high + room, start, end)


def tick_step(span: float, about: int) -> float:
    """The round number (1, 2, 2.5 or 5 times a power of ten) that divides ``span`` into at most ``about`` parts.

    After P. S. Heckbert, "Nice Numbers for Graph Labels" (Graphics Gems, 1990).
    """
    if not span > 0:
        raise ValueError(f"an axis needs room between its ends, not {span}")
    power = 10.0 ** floor(log10(span / about))
    return next(step * power for step in _STEPS if span / (step * power) <= about + _SLACK)


def tick_label(tick: float, step: float) -> str:
    """``0.25``; ``−0.1`` with a real minus; no decimals that the step does not need."""
    if abs(tick) < step * _SLACK * 10:
        tick = 0.0
    decimals = max(0, -floor(log10(step) + _SLACK))
    if round(step * 10**decimals, 6) != round(step * 10**decimals):
        decimals += 1
    if abs(tick) >= 1e6 or decimals > 6:
        return f"{tick:.3g}".replace("-", "−")
    return f"{tick:,.{decimals}f}".replace("-", "−")
