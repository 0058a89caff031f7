"""Quality against size or speed: a point per file, and the line of those that nothing beats at both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from markupsafe import Markup

from variantforge.report.document import Point, TradeOff
from variantforge.report.svg.curve import axes
from variantforge.report.svg.marks import drawing, line, mark, text, titled
from variantforge.report.svg.scale import scale_over
from variantforge.words import figure, size

WIDTH, HEIGHT = 360, 270
LEFT, RIGHT, TOP, BOTTOM = 48, 16, 18, 38
SIZE = "size_bytes"
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
_ROW = 13  # pixels between the names of neighbouring points
_LETTER = 6.4  # pixels of a letter in a name, about


def trade_off_drawing(trade: TradeOff, label: str) -> Markup:
    unit, name = size_unit(trade)
    x = scale_over([point.x / unit for point in trade.points], LEFT, WIDTH - RIGHT, pad=0.1)
    y = scale_over([point.y.value for point in trade.points], HEIGHT - BOTTOM, TOP, pad=0.12)
    spots = [(point, x(point.x / unit), y(point.y.value)) for point in trade.points]
    marks = [*axes(x, y, name, WIDTH, HEIGHT, LEFT, BOTTOM), _frontier(spots), *_names(spots)]
    marks += [_dot(trade, point, *place) for point, *place in spots]
    return drawing(WIDTH, HEIGHT, label, marks, "chart")


def size_unit(trade: TradeOff) -> tuple[float, str]:
    """What one unit of the axis is, and its name."""
    if trade.against != SIZE:
        return 1.0, trade.against
    largest = max(point.x for point in trade.points)
    return next((unit, f"size in {name}") for unit, name in UNITS if largest >= 2 * unit or unit == 1)


def _frontier(spots: Sequence[tuple[Point, float, float]]) -> Markup:
    best = sorted((x, y) for point, x, y in spots if point.best)
    told = " ".join(f"{x:.1f},{y:.1f}" for x, y in best)
    return mark("polyline", points=told, class_="frontier")


def _dot(trade: TradeOff, point: Point, x: float, y: float) -> Markup:
    against = size(point.x) if trade.against == SIZE else f"{figure(point.x)} {trade.against}"
    title = f"{point.subject}: {trade.metric} {figure(point.y.value)}, {against}"
    return titled("circle", title, cx=x, cy=y, r=5.0 if point.best else 4.0, class_="dot best" if point.best else "dot")


Box = tuple[float, float, float]  # from, to, and the line that letters stand on


def _names(spots: Sequence[tuple[Point, float, float]]) -> Iterator[Markup]:
    """Each point's name beside it, moved up or down, with a line to it, where something stands already."""
    taken: list[Box] = [(x - 6, x + 6, y + 4) for _, x, y in spots]
    for point, x, y in sorted(spots, key=lambda spot: (spot[2], spot[1])):
        name = point.subject.removeprefix("gguf:")
        box = _place(taken, x, y, len(name) * _LETTER)
        taken.append(box)
        right = box[0] > x
        if abs(box[2] - y - 4) > 1:
            yield line(x, y, box[0] - 2 if right else box[1] + 2, box[2] - 4, "leader")
        yield text(box[0] if right else box[1], box[2], name, class_="name", text_anchor=None if right else "end")


def _place(taken: Sequence[Box], x: float, y: float, width: float) -> Box:
    """Where a name of that width fits: beside its point, else a row up or down, on its right or its left."""
    for height in _heights(y + 4):
        for start in (x + 9, x - 9 - width):
            box = (start, start + width, height)
            if start > LEFT and start + width <= WIDTH and not any(map(partial(_meet, box), taken)):
                return box
    return (x + 9, x + 9 + width, y + 4)  # nowhere: then on top of the others


def _heights(wanted: float) -> Iterator[float]:
    yield wanted
    for rows in range(1, 2 * HEIGHT // _ROW):
        for height in (wanted - rows * _ROW / 2, wanted + rows * _ROW / 2):
            if TOP <= height <= HEIGHT - BOTTOM - 3:
                yield height


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[1] and one[1] > other[0] and abs(one[2] - other[2]) < _ROW
