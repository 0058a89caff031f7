"""The lineage: a row per variant, from the base on the left to its formats on the right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from variantforge.report.document import Edge, Lineage, Node
from variantforge.report.svg.marks import drawing, group, mark, text, titled

BOX, TALL, COLUMN, GAP = 190, 46, 232, 26
PILL, LOW = 108, 26
ROOM = 1030  # of the picture, where its formats can be laid in more rows
MOST_ROWS = 60
SIGNS = {
    "pass": "✓",
    "fail": "✕",
    "not enough data": "?",
    "forced": "!",
    "missing": "…",
    "not judged": "·",
    "here": "",
}
_LETTERS = 22  # of a name that fit into a box


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> tuple[float, float]:
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> tuple[float, float]:
        return self.x + self.width, self.y + self.height / 2


def lineage_drawing(lineage: Lineage, label: str) -> Markup:
    """The whole graph; of more variants than fit, the first ones."""
    boxes, width, height = placed(lineage)
    nodes = [node for node in lineage.nodes if node.id in boxes]
    edges = [edge for edge in lineage.edges if edge.source in boxes and edge.target in boxes]
    marks = [_edge(edge, boxes) for edge in edges if edge.kind != "made"]
    marks += _trays(edges, boxes) + [_node(node, boxes[node.id]) for node in nodes]
    return drawing(width, height, label, marks, "lineage")


def placed(lineage: Lineage) -> tuple[dict[str, Box], float, float]:
    """Where each node stands, and how large the picture is."""
    depth, order = _depths(lineage)
    formats: dict[str, list[str]] = {}
    for edge in lineage.edges:
        if edge.kind == "made":
            formats.setdefault(edge.source, []).append(edge.target)
    formats_at = COLUMN * (max((depth[id] for id in order), default=1) + 1)
    across = max(2, (ROOM - formats_at) // (PILL + 8))  # pills in a row
    boxes: dict[str, Box] = {}
    top = 12.0
    for id in order[:MOST_ROWS]:
        pills = formats.get(id, [])
        stack = -(-len(pills) // across) * (LOW + 6) - 6
        tall = max(TALL, stack)
        boxes[id] = Box(4 + COLUMN * depth[id], top + (tall - TALL) / 2, BOX, TALL)
        for place, pill in enumerate(pills):
            row, column = divmod(place, across)
            y = top + (tall - stack) / 2 + row * (LOW + 6)
            boxes[pill] = Box(formats_at + column * (PILL + 8), y, PILL, LOW)
        top += tall + GAP
    boxes |= _sources(lineage, boxes, top)
    width = max((box.x + box.width for box in boxes.values()), default=BOX) + 12
    height = max((box.y + box.height for box in boxes.values()), default=TALL) + 12
    return boxes, width, height


def _trays(edges: Sequence[Edge], boxes: Mapping[str, Box]) -> list[Markup]:
    """The formats of one variant lie on one tray, and one line leads to it."""
    made: dict[str, list[Box]] = {}
    for edge in edges:
        if edge.kind == "made":
            made.setdefault(edge.source, []).append(boxes[edge.target])
    marks = []
    for source, pills in made.items():
        left, top = min(pill.x for pill in pills) - 8, min(pill.y for pill in pills) - 8
        right, bottom = (
            max(pill.x + pill.width for pill in pills) + 8,
            max(pill.y + pill.height for pill in pills) + 8,
        )
        (x, y), middle = boxes[source].right, (top + bottom) / 2
        marks.append(mark("path", d=f"M{x:.1f} {y:.1f} L{left:.1f} {middle:.1f}", class_="edge made"))
        marks.append(
            mark("rect", x=left, y=top, width=right - left, height=bottom - top, rx=12, class_="tray")
        )  # fmt: skip
    return marks


def _depths(lineage: Lineage) -> tuple[dict[str, int], list[str]]:
    """Column of each variant, and their rows: each after the one that it starts from, its own children next."""
    parents = {edge.target: edge.source for edge in lineage.edges if edge.kind == "from"}
    variants = [node.id for node in lineage.nodes if node.kind == "variant"]
    depth: dict[str, int] = {}
    order: list[str] = []
    waiting = [(id, 1) for id in reversed(variants) if id not in parents]
    while waiting:
        id, column = waiting.pop()
        depth[id] = column
        order.append(id)
        waiting += [(child, column + 1) for child in reversed(variants) if parents.get(child) == id]
    return depth, order


def _sources(lineage: Lineage, boxes: Mapping[str, Box], bottom: float) -> dict[str, Box]:
    """Bases and teachers, in the first column: each at the middle of what it made, below the one before."""
    found: dict[str, Box] = {}
    top = 4.0
    for node in lineage.nodes:
        if node.kind in ("base", "teacher"):
            made = [boxes[edge.target] for edge in lineage.edges if edge.source == node.id and edge.target in boxes]
            middle = (made[0].y + made[-1].y) / 2 if made else top
            found[node.id] = Box(4, max(top, middle), BOX, TALL)
            top = found[node.id].y + TALL + GAP
    return found


def _node(node: Node, box: Box) -> Markup:
    if node.kind == "format":
        return _pill(node, box)
    shape = titled("rect", ", ".join(part for part in (node.kind, node.name, node.note) if part), x=box.x, y=box.y,
                   width=box.width, height=box.height, rx=9, class_="box")  # fmt: skip
    middle = box.x + box.width / 2
    lines = [text(middle, box.y + (20 if node.note else 28), _short(node.name.rpartition("/")[2]), class_="box-name")]
    if node.note:
        lines.append(text(middle, box.y + 36, _short(node.note, 28), class_="box-note"))
    return group([shape, *lines], class_=f"node {node.kind} {node.state}")


def _pill(node: Node, box: Box) -> Markup:
    shape = titled("rect", f"{node.name}: {node.state}", x=box.x, y=box.y, width=box.width, height=box.height, rx=13)
    sign = SIGNS.get(node.state, "")
    words = f"{sign} {_short(node.name.removeprefix('gguf:').replace('gguf_lora:', 'LoRA '), 13)}".strip()
    name = text(box.x + box.width / 2, box.y + 17, words)
    return group([shape, name], class_=f"pill v-{node.state.replace(' ', '-')}")


def _edge(edge: Edge, boxes: Mapping[str, Box]) -> Markup:
    source, target = boxes[edge.source], boxes[edge.target]
    (x1, y1), (x2, y2) = source.right, target.left
    if x2 < x1:  # to a column further left, or the same one: around the outside
        (x1, y1), (x2, y2) = source.left, target.left
        path = f"M{x1:.1f} {y1:.1f} C{x1 - 26:.1f} {y1:.1f} {x2 - 26:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    else:
        middle = (x1 + x2) / 2
        path = f"M{x1:.1f} {y1:.1f} C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    return mark("path", d=path, class_=f"edge {edge.kind}")


def _short(name: str, letters: int = _LETTERS) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def rows_left_out(lineage: Lineage) -> int:
    return max(0, sum(node.kind == "variant" for node in lineage.nodes) - MOST_ROWS)


def kinds(edges: Sequence[Edge]) -> Iterator[str]:
    """The kinds of edges there are, for the legend."""
    yield from dict.fromkeys(edge.kind for edge in edges)
