"""Quality against size or speed: a point per file, and the line of those that nothing beats at both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from variantforge.report.document import Point, TradeOff
from variantforge.report.svg.curve import axes
from variantforge.report.svg.marks import drawing, mark, text, titled
from variantforge.report.svg.scale import Scale, scale_over
from variantforge.words import figure, size

WIDTH, HEIGHT = 360, 270
LEFT, RIGHT, TOP, BOTTOM = 48, 16, 18, 38
SIZE = "size_bytes"
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
_ROW = 13  # pixels between the names of neighbouring points
_LETTER = 6.4  # pixels of a letter in a name, about


def trade_off_drawing(trade: TradeOff, label: str) -> Markup:
    unit = size_unit(trade)
    at = [(point, point.x / unit[0]) for point in trade.points]
    x = scale_over([0.0, *(value for _, value in at)] if trade.against == SIZE else [value for _, value in at],
                   LEFT, WIDTH - RIGHT, pad=0.0 if trade.against == SIZE else 0.08)  # fmt: skip
    x = Scale(x.low, x.high * 1.06 if trade.against == SIZE else x.high, x.start, x.end)
    y = scale_over([point.y.value for point in trade.points], HEIGHT - BOTTOM, TOP, pad=0.12)
    spots = [(point, x(value), y(point.y.value)) for point, value in at]
    marks = [*axes(x, y, unit[1], WIDTH, HEIGHT, LEFT, BOTTOM), _frontier(spots)]
    marks += [_dot(trade, point, *place) for point, *place in spots]
    return drawing(WIDTH, HEIGHT, label, [*marks, *_names(spots)], "chart")


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


def _names(spots: Sequence[tuple[Point, float, float]]) -> Iterator[Markup]:
    """Each point's name beside it, moved up or down where another stands already."""
    taken: list[tuple[float, float, float]] = []  # from, to, height
    for point, x, y in sorted(spots, key=lambda spot: (spot[2], spot[1])):
        name = point.subject.removeprefix("gguf:")
        width = len(name) * _LETTER
        right = x + 9 + width < WIDTH
        start = x + 9 if right else x - 9 - width
        height = next(level for level in _levels(y + 4) if not _meets(taken, start, start + width, level))
        taken.append((start, start + width, height))
        yield text(start if right else x - 9, height, name, class_="name", text_anchor=None if right else "end")


def _levels(wanted: float) -> Iterator[float]:
    """Heights to try: the wanted one, then a row above, a row below, and on; the last resort is the wanted one."""
    yield wanted
    for rows in range(1, 12):
        for height in (wanted - rows * _ROW, wanted + rows * _ROW):
            if TOP <= height <= HEIGHT - BOTTOM - 3:
                yield height
    while True:
        yield wanted + _ROW * 40


def _meets(taken: Sequence[tuple[float, float, float]], start: float, end: float, height: float) -> bool:
    return any(start < other_end and end > other and abs(height - at) < _ROW for other, other_end, at in taken)
