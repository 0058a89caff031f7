"""A training's curves: every logged value thin, the mean of its neighbourhood bold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from variantforge.report.document import Curve
from variantforge.report.svg.marks import drawing, line, mark, text, titled
from variantforge.report.svg.scale import Scale, scale_over
from variantforge.words import figure

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 34
_SMOOTHED = 12  # windows in a curve
_DOTS = 12  # a curve of so few points is shown as points, joined

Points = Sequence[tuple[float, float]]


def curve_drawing(curves: Sequence[Curve], label: str) -> Markup:
    """All curves of one training on one pair of axes; the first is the training loss."""
    every = [point for curve in curves for point in curve.points]
    x = scale_over([step for step, _ in every], LEFT, WIDTH - RIGHT, pad=0.0)
    y = scale_over([value for _, value in every], HEIGHT - BOTTOM, TOP)
    marks = [*axes(x, y, "step", WIDTH, HEIGHT, LEFT, BOTTOM)]
    for number, curve in enumerate(curves):
        marks += _curve(curve, x, y, number)
    return drawing(WIDTH, HEIGHT, label, marks, "chart")


def axes(x: Scale, y: Scale, name: str, width: int, height: int, left: int, bottom: int) -> Iterator[Markup]:
    """Lines and words of both axes; the lower one has a name."""
    for value, label in y.labels(4):
        yield line(left, y(value), x.end, y(value), "grid")
        yield text(left - 6, y(value) + 4, label, class_="tick", text_anchor="end")
    for value, label in x.labels(5):
        yield line(x(value), y.start, x(value), y.start + 4, "axis")
        yield text(x(value), y.start + 16, label, class_="tick", text_anchor="middle")
    yield line(left, y.start, x.end, y.start, "axis")
    yield text((left + x.end) / 2, height - 4, name, class_="axis-name", text_anchor="middle")


def _curve(curve: Curve, x: Scale, y: Scale, number: int) -> Iterator[Markup]:
    if len(curve.points) <= _DOTS:
        yield _path(curve.points, x, y, f"line s{number}")
        for step, value in curve.points:
            yield titled("circle", f"{curve.name} {figure(value)} at step {step:g}", cx=x(step), cy=y(value), r=3.0,
                         class_=f"dot s{number}")  # fmt: skip
        return
    yield _path(curve.points, x, y, f"line faint s{number}")
    yield _path(smoothed(curve.points), x, y, f"line s{number}")


def smoothed(points: Points) -> list[tuple[float, float]]:
    """The mean over a window of neighbours around each point, one-sided at both ends."""
    reach = max(1, len(points) // _SMOOTHED)
    found = []
    for place, (step, _) in enumerate(points):
        window = [value for _, value in points[max(0, place - reach) : place + reach + 1]]
        found.append((step, sum(window) / len(window)))
    return found


def _path(points: Points, x: Scale, y: Scale, class_: str) -> Markup:
    told = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    return mark("polyline", points=told, class_=class_)
