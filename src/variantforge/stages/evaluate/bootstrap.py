"""The bootstrap: a statistic of sums over units, each drawn again with replacement. Deterministic: a fixed seed.

Percentiles are taken a little further out than the level says, after T. C. Hesterberg, "What Teachers Should Know
About the Bootstrap" (The American Statistician 69, 2015), section 4.2: with ``n`` examples, plain percentiles are too
narrow by about ``sqrt((n - 1) / n)`` and by the difference between Student's t and the normal distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Statistic = Callable[[Floats], Floats]

RESAMPLES = 10_000
_SEED = 20_260_101
_DRAWS_AT_ONCE = 1 << 20  # indices held in memory: 8 MB
_NORMAL = NormalDist()


class Interval(NamedTuple):
    """A value and its bounds. ``n`` is the number of examples; with fewer than two, bounds are not known: None."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Spread:
    """A statistic of all units, and of ``RESAMPLES`` draws of them, sorted ([] of a single unit)."""

    value: float
    draws: Floats
    units: int

    @classmethod
    def of(cls, columns: Floats, statistic: Statistic) -> Spread:
        import numpy as np

        units, value = len(columns), rounded(statistic(columns.sum(axis=0)))
        draws = np.sort(statistic(resampled_sums(columns))) if units > 1 else np.zeros(0)
        return cls(value, draws, units)

    def interval(self, tail: float, n: int) -> Interval:
        """The percentiles at ``tail`` and ``1 - tail``, corrected for the number of units."""
        import numpy as np

        if self.units < 2:
            return Interval(self.value, None, None, n)
        outer = widened_tail(tail, self.units)
        low, high = (rounded(bound) for bound in np.quantile(self.draws, [outer, 1 - outer]))
        return Interval(self.value, min(low, self.value), max(high, self.value), n)  # rounding may push it past

    def at_most(self, x: float) -> int:
        import numpy as np

        return int(np.searchsorted(self.draws, x + _slack(x), side="right"))

    def at_least(self, x: float) -> int:
        import numpy as np

        return len(self.draws) - int(np.searchsorted(self.draws, x - _slack(x), side="left"))

    def p(self, beyond: int) -> float:
        """The p-value to which so many draws beyond a figure belong: ``widened_tail``, backwards."""
        if self.units < 2:
            return 1.0
        share = (beyond + 1) / (len(self.draws) + 1)
        if share >= 0.5:
            return share
        low, high = 1e-12, 0.5
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if widened_tail(middle, self.units) > share else (middle, high)
        return high


def _slack(x: float) -> float:
    """What lies beyond ten digits depends on the order of additions."""
    return 1e-10 * max(1.0, abs(x))


def rounded(value: Any) -> float:
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
