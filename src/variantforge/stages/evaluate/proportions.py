"""Exact and score methods for answers that are right or wrong: one share, and two shares measured on the same items.

One share: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934). Of 0 failures among ``n`` its upper 95 % bound is
``1 - 0.05 ** (1 / n)``, the rule of three: about ``3 / n``.

Two shares, paired: Q. McNemar, Psychometrika 12 (1947), in its exact conditional form, says whether they differ;
bounds of the difference are those of T. Tango, Statistics in Medicine 17 (1998), with a continuity correction of half
an item. Without it, a one-sided 95 % bound fails up to 7 % of the time where few items flip; with it, at most 5.5 %
(all outcomes of 10 to 200 items enumerated; ``tests/stages/evaluate/test_proportions.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, lgamma, log, log1p, sqrt
from statistics import NormalDist

_CORRECTION = 0.5
_EDGE = 1e-9
_NORMAL = NormalDist()


def at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) of a binomial X with ``n`` draws."""
    if k <= 0:
        return 1.0
    if p <= 0.0 or k > n:
        return 0.0
    if p >= 1.0:
        return 1.0
    if k <= n * p:  # the shorter tail: little is lost to rounding
        return 1.0 - at_least(n - k + 1, n, 1.0 - p)
    odds = p / (1 - p)
    term = exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p))
    total = term
    for count in range(k, n):
        term *= (n - count) / (count + 1) * odds
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, total)


def share_bounds(k: int, n: int, tail: float) -> tuple[float, float]:
    """Clopper and Pearson's bounds of a share, ``tail`` outside of each: they hold at least as often as they say."""
    low = 0.0 if k == 0 else _root(lambda p: at_least(k, n, p) - tail, 0.0, 1.0)
    high = 1.0 if k == n else _root(lambda p: tail - at_least(n - k, n, 1.0 - p), 0.0, 1.0)
    return low, high


def mcnemar(gains: int, losses: int) -> float:
    """One-sided exact p-value of "no gain": as many of the items that flipped, or more, were gained by chance."""
    return at_least(gains, gains + losses, 0.5)


def more_than(difference: float, gains: int, losses: int, n: int) -> float:
    """p-value of "the true difference of shares is ``difference`` at most". Rising with ``difference``."""
    if difference == 0.0:
        return mcnemar(gains, losses)
    return 1.0 - _NORMAL.cdf(_score(difference, gains, losses, n, -_CORRECTION))


def less_than(difference: float, gains: int, losses: int, n: int) -> float:
    """p-value of "the true difference of shares is ``difference`` at least"."""
    return more_than(-difference, losses, gains, n)


def difference_bounds(gains: int, losses: int, n: int, tail: float) -> tuple[float, float]:
    """Bounds of the difference of two paired shares: (gains - losses) / n.

    They never say more of a difference from zero than McNemar's exact test does.
    """
    return _lower(gains, losses, n, tail), -_lower(losses, gains, n, tail)


def _lower(gains: int, losses: int, n: int, tail: float) -> float:
    wanted = _NORMAL.inv_cdf(1 - tail)
    bound = _root(lambda x: wanted - _score(x, gains, losses, n, -_CORRECTION), -1.0 + _EDGE, 1.0 - _EDGE)
    return min(bound, 0.0) if mcnemar(gains, losses) > tail else bound


def _score(difference: float, gains: int, losses: int, n: int, correction: float) -> float:
    """Tango's statistic: how far ``gains - losses`` lies from what a true ``difference`` lets expect, in standard
    errors under that difference; the share of losses is its likeliest value there. Falls with ``difference``."""
    a = 2 * n
    b = (2 * n - gains + losses) * difference - gains - losses
    c = -losses * difference * (1 - difference)
    lost = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * lost + difference * (1 - difference))
    distance = gains - losses - n * difference + correction
    return distance / sqrt(variance) if variance > 1e-12 else distance * 1e6


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses zero."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
