"""What came of one demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from variantforge.stages.evaluate.statistics import LEVEL, Evidence, Interval

TAIL = 1 - LEVEL  # of each one-sided bound, and of a release's false alarms
NOT_ENOUGH: Literal["not enough data"] = "not enough data"

Outcome = Literal["pass", "fail", "not enough data"]


@dataclass(frozen=True)
class Verdict:
    """What came of one demand. ``value``, ``low`` and ``high`` are the gain when ``vs`` is set, else the metric; None
    where nothing could be compared. ``p``: the p-value of its refutation (small: the demand is not met)."""

    metric: str
    vs: str | None
    demand: str
    verdict: Outcome
    value: float | None
    low: float | None
    high: float | None
    n: int
    why: str
    p: float = 1.0
    method: str = ""


def verdict_on(measured: Interval, bound: str, figure: float, *, enough: bool = True) -> Outcome:
    """By the table of the stage's docstring; ``enough``: whether there are as many examples as are asked for."""
    low, high = measured.low, measured.high
    if low is None or high is None or not enough:
        return NOT_ENOUGH
    proven, refuted = {
        "better_by": (low > figure, high <= figure),
        "worse_by_at_most": (low >= -figure, high < -figure),
        "at_least": (low >= figure, high < figure),
        "at_most": (high <= figure, low > figure),
    }[bound]
    return "pass" if proven else "fail" if refuted else NOT_ENOUGH


def refutation(evidence: Evidence, bound: str, figure: float, outcome: Outcome) -> float:
    """The p-value of "the demand is not met"; at most ``TAIL`` exactly where a bound refutes it.

    Where nothing varies (a file equal to its reference, bit for bit), what is seen is certain.
    """
    measured = evidence.interval
    if measured.low is None or measured.low == measured.high:
        return 0.0 if outcome == "fail" else 1.0
    against = {
        "better_by": (evidence.p_less, figure),
        "worse_by_at_most": (evidence.p_less, -figure),
        "at_least": (evidence.p_less, figure),
        "at_most": (evidence.p_more, figure),
    }
    p_value, at = against[bound]
    p = float(f"{p_value(at):.4g}")
    return min(p, TAIL) if outcome == "fail" else max(p, TAIL * 1.001)  # rounding moves none over the line
