"""The measurements of one suite as a sheet: a line for each metric, a column for each file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from variantforge.report.document import Estimate, Measurement, Suite


@dataclass(frozen=True)
class Line:
    """One metric. ``short``: its name without that of the evaluation; ``n``: how many examples, of all files."""

    metric: str
    short: str
    better: str | None
    n: str
    of: dict[str, Estimate]  # file -> what was measured


@dataclass(frozen=True)
class Sheet:
    """``compared``: the rows that have gains, and ``over`` what."""

    files: list[str]
    lines: list[Line]
    compared: list[Measurement]
    over: list[str]


def sheet_of(suite: Suite) -> Sheet:
    by_metric: dict[str, list[Measurement]] = {}
    for row in suite.rows:
        by_metric.setdefault(row.metric, []).append(row)
    fullest = sorted(by_metric.values(), key=len, reverse=True)  # its files are in the order of the family file
    over = [other for other in ("base", "merged", "previous") if any(other in row.gains for row in suite.rows)]
    return Sheet(
        list(dict.fromkeys(row.subject for rows in fullest for row in rows)),
        [_line(suite, metric, rows) for metric, rows in by_metric.items()],
        [row for row in suite.rows if row.gains],
        over,
    )


def _line(suite: Suite, metric: str, rows: list[Measurement]) -> Line:
    estimates = {row.subject: row.estimate for row in rows}
    return Line(metric, metric[len(suite.evaluation) + 1 :], rows[0].better, _counts(estimates.values()), estimates)


def _counts(estimates: Iterable[Estimate]) -> str:
    """``24``, or ``4 to 24`` where files differ; '' where nothing is told."""
    counts = sorted({estimate.n for estimate in estimates if estimate.n is not None})
    return f"{counts[0]:,} to {counts[-1]:,}" if len(counts) > 1 else "".join(f"{count:,}" for count in counts)
