"""Intervals of a forest plot, a row at a time: all rows of a panel share one axis, so they stand under each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from variantforge.report.document import Estimate, GatePanel, GateRow
from variantforge.report.svg.marks import drawing, line, mark, text, titled
from variantforge.report.svg.scale import Scale, scale_over
from variantforge.words import figure

WIDTH, ROW, AXIS, SMALL = 250, 26, 34, 110
_EDGE = 8.0


def panel_scale(panel: GatePanel) -> Scale:
    """Holds every bound and margin, and zero where gains are shown."""
    values = [0.0] if panel.vs else []
    for row in panel.rows:
        seen = row.estimate
        values += _known(threshold(row, panel.vs), *((seen.value, seen.low, seen.high) if seen else ()))
    return scale_over(values or [0.0], _EDGE, WIDTH - _EDGE)


def gains_scale(gains: Sequence[Estimate]) -> Scale:
    values = [value for gain in gains for value in (gain.value, *_known(gain.low, gain.high))]
    return scale_over([0.0, *values], _EDGE, SMALL - _EDGE)


def threshold(row: GateRow, vs: str) -> float | None:
    """Where a demand's margin stands on the axis: a loss that is allowed is a negative gain."""
    if row.margin is None:
        return None
    return -row.margin if vs and row.bound == "worse_by_at_most" else row.margin


def row_drawing(row: GateRow, vs: str, scale: Scale) -> Markup:
    """The interval of one demand, its margin, and the side that passes."""
    middle = ROW / 2
    marks: list[Markup] = []
    if (margin := threshold(row, vs)) is not None:
        marks += _passing(scale.kept(margin), row.bound)
    if vs:
        marks.append(line(scale(0), 0, scale(0), ROW, "zero"))
    seen = told(row.estimate) if row.estimate else "not compared"
    title = f"{row.variant} {row.subject}: {seen}; demanded: {row.demand}; {row.verdict}"
    if row.estimate:
        marks += _interval(row.estimate, scale, middle, f"v-{row.verdict.replace(' ', '-')}")
    return drawing(WIDTH, ROW, title, marks, "forest")


def axis_drawing(scale: Scale, vs: str, better: str) -> Markup:
    """The panel's axis, with the way to the better side."""
    marks = [line(scale.start, 1, scale.end, 1, "axis")]
    for value, label in scale.labels(4):
        marks += [
            line(scale(value), 1, scale(value), 5, "axis"),
            text(scale(value), 17, label, class_="tick", text_anchor="middle"),
        ]
    marks.append(text(WIDTH / 2, 31, better, class_="axis-name", text_anchor="middle"))
    return drawing(WIDTH, AXIS, f"axis from {figure(scale.low)} to {figure(scale.high)}", marks, "forest")


def gain_drawing(gain: Estimate, scale: Scale, label: str) -> Markup:
    """A small interval beside a figure."""
    state = "v-pass" if gain.low is not None and gain.low > 0 else "v-fail" if _below(gain) else "v-unsure"
    marks = [line(scale(0), 2, scale(0), 16, "zero"), *_interval(gain, scale, 9, state)]
    return drawing(SMALL, 18, label, marks, "gain")


def told(estimate: Estimate) -> str:
    """``0.31 [0.24, 0.38], n = 57``"""
    bounds = _known(estimate.low, estimate.high)
    sure = f" [{', '.join(map(figure, bounds))}]" if len(bounds) == 2 else ""
    return f"{figure(estimate.value)}{sure}{f', n = {estimate.n}' if estimate.n is not None else ''}"


def _passing(x: float, bound: str) -> Iterator[Markup]:
    left = bound == "at_most"
    start, end = (0.0, x) if left else (x, float(WIDTH))
    yield mark("rect", x=start, y=0, width=max(0.0, end - start), height=ROW, class_="passing")
    yield line(x, 0, x, ROW, "margin")


def _interval(estimate: Estimate, scale: Scale, middle: float, class_: str) -> Iterator[Markup]:
    if estimate.low is not None and estimate.high is not None:
        yield line(scale(estimate.low), middle, scale(estimate.high), middle, f"whisker {class_}")
        for bound in (estimate.low, estimate.high):
            yield line(scale(bound), middle - 4, scale(bound), middle + 4, f"whisker {class_}")
    yield titled("circle", told(estimate), cx=scale(estimate.value), cy=middle, r=4.5, class_=f"dot {class_}")


def _below(gain: Estimate) -> bool:
    return gain.high is not None and gain.high < 0


def _known(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]
