"""Intervals and paired comparisons by bootstrap over examples. Deterministic: equal examples give equal bounds.

An example (a row of held-out data), not a token, is drawn again: tokens of one row go together. A metric is a ratio
of sums, and both sums are resampled with the same draws; in a comparison, so are both subjects' sums.

Percentiles are taken a little further out than the level says, after T. C. Hesterberg, "What Teachers Should Know
About the Bootstrap" (The American Statistician 69, 2015), section 4.2: with ``n`` examples, plain percentiles are too
narrow by about ``sqrt((n - 1) / n)`` and by the difference between Student's t and the normal distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

from variantforge.stages.evaluate.metric import Metric

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]

RESAMPLES = 10_000
LEVEL = 0.95
_SEED = 20_260_101
_DRAWS_AT_ONCE = 1 << 20  # indices held in memory: 8 MB
_NORMAL = NormalDist()

Example = Mapping[str, Any]


class Interval(NamedTuple):
    """A value and its bounds. ``n`` is the number of examples; with fewer than two, bounds are not known: None."""

    value: float
    low: float | None
    high: float | None
    n: int


class NothingToCount(ValueError):
    """No example has anything that the metric counts."""


def interval(metric: Metric, examples: Iterable[Example]) -> Interval:
    """The metric with its two-sided 95 % interval. Raises NothingToCount."""
    columns = _columns(metric, [row for row in examples if row.get(metric.per)])
    return _bounded(columns, lambda sums: _scaled(metric, sums[..., 0], sums[..., 1]), tail=(1 - LEVEL) / 2)


def gain(metric: Metric, subject: Sequence[Example], other: Sequence[Example]) -> Interval:
    """By how much ``subject`` is better than ``other`` on the same examples; below zero, it is worse.

    ``low`` and ``high`` are one-sided 95 % bounds each. Raises NothingToCount; ValueError when the examples differ.
    """
    if [row["id"] for row in subject] != [row["id"] for row in other]:
        raise ValueError("the two were not measured on the same examples")
    both = [(ours, theirs) for ours, theirs in zip(subject, other, strict=True) if _counts(metric, ours, theirs)]
    ours, theirs = _columns(metric, [pair[0] for pair in both]), _columns(metric, [pair[1] for pair in both])
    sign = -1.0 if metric.better == "lower" else 1.0

    def difference(sums: Floats) -> Floats:
        here, there = _scaled(metric, sums[..., 0], sums[..., 1]), _scaled(metric, sums[..., 2], sums[..., 3])
        return sign * (here - there)

    import numpy as np

    return _bounded(np.concatenate([ours, theirs], axis=1), difference, tail=1 - LEVEL)


def one_sided(metric: Metric, examples: Iterable[Example]) -> Interval:
    """The metric with one-sided 95 % bounds: what a demand on a fixed figure is held against."""
    columns = _columns(metric, [row for row in examples if row.get(metric.per)])
    return _bounded(columns, lambda sums: _scaled(metric, sums[..., 0], sums[..., 1]), tail=1 - LEVEL)


def _counts(metric: Metric, ours: Example, theirs: Example) -> bool:
    return bool(ours.get(metric.per)) and bool(theirs.get(metric.per))


def _columns(metric: Metric, examples: Sequence[Example]) -> Floats:
    """[examples, 2]: what is summed above and below the line."""
    import numpy as np

    if not examples:
        raise NothingToCount(f"no example has {metric.per} to count for '{metric.name}'")
    return np.array([(row[metric.total], row[metric.per]) for row in examples], dtype=np.float64)


def _scaled(metric: Metric, total: Floats, per: Floats) -> Floats:
    import numpy as np

    ratio = total / per
    return np.exp(ratio) if metric.scale == "exp" else ratio


def _bounded(columns: Floats, statistic: Any, *, tail: float) -> Interval:
    """The statistic of all examples, and its bootstrap percentiles at ``tail`` and ``1 - tail``, n-corrected."""
    import numpy as np

    n = len(columns)
    value = _rounded(statistic(columns.sum(axis=0)))
    if n < 2:
        return Interval(value, None, None, n)
    spread = statistic(resampled_sums(columns))
    outer = widened_tail(tail, n)
    low, high = (_rounded(bound) for bound in np.quantile(spread, [outer, 1 - outer]))
    return Interval(value, min(low, value), max(high, value), n)  # rounding alone may push a bound past the value


def _rounded(value: Any) -> float:
    """Ten significant digits: what lies beyond depends on the order of additions."""
    return float(f"{float(value):.10g}")


def resampled_sums(columns: Floats, resamples: int = RESAMPLES) -> Floats:
    """Sums over examples drawn with replacement. [examples, k] -> [resamples, k]"""
    import numpy as np

    n = len(columns)
    random = np.random.default_rng(_SEED)
    at_once = max(1, _DRAWS_AT_ONCE // n)
    sums = []
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = random.integers(0, n, size=(count, n), dtype=np.int64) + n * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        sums.append(times.astype(np.float64) @ columns)  # floats: numpy multiplies whole numbers slowly
    return np.concatenate(sums)


def widened_tail(tail: float, n: int) -> float:
    """The share of resamples to leave out at one end, so that about ``tail`` remains outside with ``n`` examples."""
    return _NORMAL.cdf(sqrt(n / (n - 1)) * _student_quantile(tail, n - 1))


def _student_quantile(probability: float, freedom: int) -> float:
    """Student's t from the normal quantile (Abramowitz and Stegun, 26.7.5); 0.1 % off at 5 degrees of freedom."""
    x = _NORMAL.inv_cdf(probability)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return float(x + sum(term / freedom**power for power, term in enumerate(terms, start=1)))
