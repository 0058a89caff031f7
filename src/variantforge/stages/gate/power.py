"""How large a difference a gate can see, before anything is measured. Formulas, and no data: approximations by the
normal distribution, which the tests hold beside the exact figures.

A difference is *seen* when it is called so 80 times of 100 by a one-sided 95 % bound: it must be 2.49 standard errors.
For answers that are right or wrong, the standard error of a paired difference hangs on how many items *flip* (right
with one model, wrong with the other). Of fine-tunes and quantized files about 8 of 100 items flip where 2 points are
lost, 12 where 5 are, 16 where 10 are; that is assumed here until figures of an earlier measurement are at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf, sqrt
from statistics import NormalDist

from variantforge.stages.evaluate.statistics import LEVEL

POWER = 0.8
_NORMAL = NormalDist()
_SURE = _NORMAL.inv_cdf(LEVEL)  # 1.645
_SEEN = _SURE + _NORMAL.inv_cdf(POWER)  # 2.487
_FLIPS = ((0.0, 0.06), (0.02, 0.08), (0.03, 0.10), (0.05, 0.12), (0.10, 0.16))  # points lost -> share that flips


def assumed_flips(drop: float) -> float:
    """The share of items that flip where ``drop`` is lost, by the points above and straight lines between them."""
    for (low, few), (high, many) in pairwise(_FLIPS):
        if drop <= high:
            return few + (many - few) * (drop - low) / (high - low)
    return min(1.0, _FLIPS[-1][1] + drop - _FLIPS[-1][0])


@dataclass(frozen=True)
class Sight:
    """What a comparison sees. ``sees``: the smallest true drop that is called ``fail`` (of ``better_by``: gain that
    passes). ``proves``: the smallest margin that a file as good as the other passes. ``equal_passes``: how often such
    a file passes with the margin there is. ``needs``: items with which it would, 80 times of 100."""

    sees: float
    proves: float
    equal_passes: float
    needs: int | None


def paired_error(n: int, drop: float = 0.0) -> float:
    """The standard error of a paired difference of shares, flips as assumed."""
    return sqrt(max(assumed_flips(drop) - drop * drop, 0.0) / n)


def share_error(n: int, share: float) -> float:
    """The standard error of a share."""
    return sqrt(max(share * (1 - share), 0.0) / n)


def sight(n: int, margin: float, error: Callable[[float], float], step: float = 0.0) -> Sight:
    """Of ``n`` items and a margin; ``error``: a true drop -> the standard error of what is measured of it. ``step``: by
    how much one item moves a share (0 of graded metrics): exact methods stay that far on the safe side."""
    at_rest = error(0.0)
    passes = 1.0 if at_rest == 0 else _NORMAL.cdf((margin - step / 2) / at_rest - _SURE)
    proves = _SEEN * at_rest + step / 2
    needs = ceil(n * (_SEEN * at_rest / margin) ** 2) if margin > 0 else None
    return Sight(_beyond(margin + step, error), proves, passes, needs)


def _beyond(margin: float, error: Callable[[float], float]) -> float:
    """The drop that is seen: ``margin`` and 2.49 of its own standard errors."""
    low, high = margin, margin + 1.0
    while high < 1e6 and high - margin < _SEEN * error(high):
        high *= 2
    if high >= 1e6:
        return inf
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if middle - margin >= _SEEN * error(middle) else (middle, high)
    return high


def chance(drop: float, margin: float, error: float, step: float = 0.0) -> float:
    """How often a true drop is called ``fail`` with a margin."""
    return _NORMAL.cdf((drop - margin - step) / error - _SURE)
