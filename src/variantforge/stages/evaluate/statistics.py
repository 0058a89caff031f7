"""Intervals of metrics, and paired comparisons. Deterministic: equal examples give equal bounds.

Metrics whose every example is right or wrong have exact or score bounds (``proportions``); all others a bootstrap. An
example (a row of held-out data), not a token, is drawn again: tokens of one row go together. A metric is a ratio
of sums, and both sums are resampled with the same draws; in a comparison, so are both subjects' sums.

What a gate judges (``Evidence``) is drawn by *cluster* where there are enough of them: the items of one ``cluster``
of theirs, else of one ``source``, rise and fall together (E. Miller, "Adding Error Bars to Evals", arXiv:2411.00640:
standard errors can be three times as large as naive ones). Fewer sources than ``LEAST_UNITS`` are the fixed parts of
a mix, not a sample of sources; then examples are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from variantforge.stages.evaluate.bootstrap import Interval, Spread, rounded
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.evaluate.proportions import at_least as binomial_tail
from variantforge.stages.evaluate.proportions import difference_bounds, less_than, more_than, share_bounds

if TYPE_CHECKING:
    from variantforge.stages.evaluate.bootstrap import Floats, Statistic

LEVEL = 0.95
LEAST_UNITS = 8  # below it, resampling knows too little of the spread to prove anything

Example = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What examples say of a metric, or of a gain: the value, and one-sided 95 % bounds each.

    ``units`` is the number of things drawn: examples, or clusters of them. ``p_more(x)`` is the p-value of "the truth
    is more than x" (small: it is), ``p_less(x)`` of "less than x".
    """

    interval: Interval
    method: str
    units: int
    p_more: Callable[[float], float]
    p_less: Callable[[float], float]

    @property
    def least(self) -> int:
        """How many units the method needs to know anything; exact ones hold for any number."""
        return LEAST_UNITS if self.method.startswith("bootstrap") else 1


class NothingToCount(ValueError):
    """No example has anything that the metric counts."""


def interval(metric: Metric, examples: Iterable[Example]) -> Interval:
    """The metric with its two-sided 95 % interval, examples drawn one by one. Raises NothingToCount."""
    rows = [row for row in examples if row.get(metric.per)]
    columns = _columns(metric, rows)
    if _right_or_wrong(metric, columns):
        return _share(columns, (1 - LEVEL) / 2)
    return Spread.of(columns, _value_of(metric)).interval((1 - LEVEL) / 2, len(rows))


def gain(metric: Metric, subject: Sequence[Example], other: Sequence[Example]) -> Interval:
    """By how much ``subject`` is better than ``other`` on the same examples; below zero, it is worse.

    ``low`` and ``high`` are one-sided 95 % bounds each. Raises NothingToCount; ValueError when the examples differ.
    """
    return gained(metric, subject, other).interval


def measured(metric: Metric, examples: Iterable[Example]) -> Evidence:
    """What examples say of a metric itself: what a demand on a fixed figure is held against. Raises NothingToCount."""
    rows = [row for row in examples if row.get(metric.per)]
    columns, clusters = _columns(metric, rows), _clusters(rows)
    drawn = partial(_bootstrapped, columns, clusters, _value_of(metric), "bootstrap")
    if not _right_or_wrong(metric, columns):
        return drawn()
    right, n = round(columns[:, 0].sum()), len(columns)
    exact = Evidence(
        _share(columns, 1 - LEVEL),
        "Clopper-Pearson",
        n,
        lambda x: binomial_tail(right, n, x) if x >= 0 else 0.0,
        lambda x: binomial_tail(n - right, n, 1 - x) if x <= 1 else 0.0,
    )
    return exact if clusters is None else _no_surer(drawn(), exact)


def gained(metric: Metric, subject: Sequence[Example], other: Sequence[Example]) -> Evidence:
    """What examples say of the gain over ``other``. Raises NothingToCount; ValueError when the examples differ."""
    import numpy as np

    # only rows that the metric speaks of: an evaluation may have measured more of one of the two
    subject, other = ([row for row in rows if metric.per in row] for rows in (subject, other))
    if [row["id"] for row in subject] != [row["id"] for row in other]:
        raise ValueError("the two were not measured on the same examples")
    both = [(ours, theirs) for ours, theirs in zip(subject, other, strict=True) if _counts(metric, ours, theirs)]
    ours, theirs = _columns(metric, [pair[0] for pair in both]), _columns(metric, [pair[1] for pair in both])
    clusters = _clusters([pair[0] for pair in both])
    sign, value = -1.0 if metric.better == "lower" else 1.0, _value_of(metric)
    columns = np.concatenate([ours, theirs], axis=1)
    drawn = partial(
        _bootstrapped,
        columns,
        clusters,
        lambda sums: sign * (value(sums[..., :2]) - value(sums[..., 2:])),
        "bootstrap of pairs",
    )
    if not (_right_or_wrong(metric, ours) and _right_or_wrong(metric, theirs)):
        return drawn()
    better, worse = (ours[:, 0] > theirs[:, 0]).sum(), (ours[:, 0] < theirs[:, 0]).sum()
    exact = _flipped(*((worse, better) if metric.better == "lower" else (better, worse)), len(ours))
    return exact if clusters is None else _no_surer(drawn(), exact)


def _no_surer(drawn: Evidence, exact: Evidence) -> Evidence:
    """What is drawn by cluster, but never surer than the items would be if each stood for itself: where no cluster
    differs from another (all right, none flipped), drawing them shows no spread at all, and proves nothing."""
    low, high = (
        pick(one for one in ends if one is not None)
        for pick, ends in zip((min, max), zip(drawn.interval[1:3], exact.interval[1:3], strict=True), strict=True)
    )
    return Evidence(
        drawn.interval._replace(low=low, high=high),
        drawn.method,
        drawn.units,
        lambda x: max(drawn.p_more(x), exact.p_more(x)),
        lambda x: max(drawn.p_less(x), exact.p_less(x)),
    )


def _flipped(gains: int, losses: int, n: int) -> Evidence:
    gains, losses = int(gains), int(losses)
    low, high = map(rounded, difference_bounds(gains, losses, n, 1 - LEVEL))
    value = rounded((gains - losses) / n)
    return Evidence(
        Interval(value, min(low, value), max(high, value), n),
        f"exact McNemar and score bounds ({gains} gained, {losses} lost)",
        n,
        lambda x: more_than(x, gains, losses, n),
        lambda x: less_than(x, gains, losses, n),
    )


def _share(columns: Floats, tail: float) -> Interval:
    right, n = round(columns[:, 0].sum()), len(columns)
    low, high = share_bounds(right, n, tail)
    return Interval(rounded(right / n), rounded(low), rounded(high), n)


def _right_or_wrong(metric: Metric, columns: Floats) -> bool:
    import numpy as np

    return metric.scale == "identity" and bool((columns[:, 1] == 1).all() and np.isin(columns[:, 0], (0, 1)).all())


def _counts(metric: Metric, ours: Example, theirs: Example) -> bool:
    return bool(ours.get(metric.per)) and bool(theirs.get(metric.per))


def _columns(metric: Metric, examples: Sequence[Example]) -> Floats:
    """[examples, 2]: what is summed above and below the line."""
    import numpy as np

    if not examples:
        raise NothingToCount(f"no example has {metric.per} to count for '{metric.name}'")
    return np.array([(row[metric.total], row[metric.per]) for row in examples], dtype=np.float64)


def _clusters(examples: Sequence[Example]) -> list[int] | None:
    """The number of each example's cluster; None where examples are to be drawn one by one."""
    names = [str(row.get("cluster") or row.get("source") or "") for row in examples]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    if not LEAST_UNITS <= len(numbers) < len(names):
        return None
    return [numbers[name] for name in names]


def _value_of(metric: Metric) -> Callable[[Floats], Floats]:
    """Sums [..., 2] -> the metric."""
    import numpy as np

    def value(sums: Floats) -> Floats:
        ratio = sums[..., 0] / sums[..., 1]
        return np.exp(ratio) if metric.scale == "exp" else ratio

    return value


def _bootstrapped(columns: Floats, clusters: list[int] | None, statistic: Statistic, method: str) -> Evidence:
    spread = Spread.of(columns if clusters is None else _summed(columns, clusters), statistic)
    told = f"{method} over {spread.units} {'examples' if clusters is None else 'sources'}"
    return Evidence(
        spread.interval(1 - LEVEL, len(columns)),
        told,
        spread.units,
        lambda x: spread.p(spread.at_most(x)),
        lambda x: spread.p(spread.at_least(x)),
    )


def _summed(columns: Floats, clusters: list[int]) -> Floats:
    """[clusters, k]: the sums of each cluster."""
    import numpy as np

    sums = np.zeros((max(clusters) + 1, columns.shape[1]))
    np.add.at(sums, clusters, columns)
    return sums


__all__ = ["LEAST_UNITS", "LEVEL", "Evidence", "Interval", "NothingToCount"]
