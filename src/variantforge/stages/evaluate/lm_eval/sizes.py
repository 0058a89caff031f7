"""How many items a metric of tasks will count, as far as their files say it before anything is asked."""

from __future__ import annotations

from variantforge.stages.data.sources import BadRow, open_table
from variantforge.stages.evaluate.lm_eval.leaves import Leaf
from variantforge.stages.evaluate.lm_eval.tasks import Suite


def size_of(suite: Suite, metric: str, limit: float | None) -> tuple[int | None, bool]:
    """The items, and whether they may be fewer: those of the Hub are counted once they are there. None, too, for
    metrics of likelihoods, whose items are not right or wrong."""
    parts = [one for one in suite.scored if one.is_ratio and one.name == metric]
    parts += [part for pool in suite.pooled if pool.name == metric for part in pool.parts]
    if not parts or any(part.as_metric.scale != "identity" for part in parts):
        return None, False
    counts = [_count(suite.leaves[part.task], limit) for part in parts]
    known = [count for count, _ in counts if count is not None]
    return (sum(known) if len(known) == len(counts) else None), any(at_most for _, at_most in counts)


def _count(leaf: Leaf, limit: float | None) -> tuple[int | None, bool]:
    files = leaf.items()
    if not files:
        return (int(limit), True) if limit is not None and limit >= 1 else (None, False)
    rows = sum(
        not isinstance(record.values, BadRow) for file in files for record in open_table(file, file.name).records
    )
    if limit is None:
        return rows, False
    return min(rows, int(limit) if limit >= 1 else int(rows * limit)), False
