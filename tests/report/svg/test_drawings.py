"""Drawings are well-formed, hold what they are given, and set nothing on top of something else."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from variantforge.report.document import Curve, Edge, Estimate, GatePanel, GateRow, Lineage, Node, Point, TradeOff
from variantforge.report.svg.bars import parts_drawing
from variantforge.report.svg.curve import curve_drawing, smoothed
from variantforge.report.svg.interval import panel_scale, row_drawing, threshold
from variantforge.report.svg.marks import mark, titled
from variantforge.report.svg.tradeoff import trade_off_drawing
from variantforge.report.svg.tree import lineage_drawing, placed, rows_left_out
from variantforge.report.training import thinned

HOSTILE = "</svg><script>alert(1)</script>\"'&"


def parsed(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)


def test_words_and_attributes_are_escaped() -> None:
    element = parsed(titled("rect", HOSTILE, class_=HOSTILE, x=1.25, y=None))
    assert element[0].text == element.attrib["class"] == HOSTILE
    assert (element.attrib["x"], "y" in element.attrib) == ("1.2", False)


def test_numbers_are_written_to_a_tenth_without_a_negative_zero() -> None:
    assert mark("line", x1=-0.01, x2=10.0, y1=3.14159) == '<line x1="0" x2="10" y1="3.1"/>'


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-10, 10)), min_size=1, max_size=600))
def test_thinning_out_keeps_the_ends_in_sight_and_the_mean(points: list[tuple[float, float]]) -> None:
    thin = thinned(points, 50)
    assert len(thin) <= 50
    assert min(y for _, y in points) - 1e-9 <= min(y for _, y in thin)
    assert max(y for _, y in thin) <= max(y for _, y in points) + 1e-9
    assert thinned(points, len(points)) == points


def test_smoothing_leaves_a_straight_line_where_it_is_and_takes_spikes_down() -> None:
    line = [(float(step), 3.0 - step / 10) for step in range(40)]
    inner = slice(5, 35)
    assert all(abs(y - z) < 1e-9 for (_, y), (_, z) in zip(line[inner], smoothed(line)[inner], strict=True))
    assert max(y for _, y in smoothed([(0.0, 0.0)] * 20 + [(20.0, 9.0)])) < 9 / 2 + 1e-9


def test_a_training_of_one_step_can_be_drawn() -> None:
    assert parsed(curve_drawing([Curve("loss", [(1.0, 2.0)], 1)], "one")).tag == "svg"


def test_a_panel_holds_bounds_margins_and_zero() -> None:
    rows = [gate("worse_by_at_most", 0.4, Estimate(-0.1, -0.2, 0.0, 30)), gate("better_by", 0.9, None)]
    panel = GatePanel("heldout.loss", "base", rows)
    scale = panel_scale(panel)
    assert (threshold(rows[0], "base"), threshold(rows[1], "base")) == (-0.4, 0.9)
    assert scale.low < -0.4 < 0.9 < scale.high
    assert all(parsed(row_drawing(row, panel.vs, scale)).tag == "svg" for row in rows)


def gate(bound: str, margin: float, seen: Estimate | None) -> GateRow:
    return GateRow("code", "nf4", "pass", "demanded", bound, margin, seen, "why", "", "")


@given(st.lists(st.tuples(st.floats(1e6, 1e9), st.floats(0.5, 9.0)), min_size=2, max_size=14, unique=True))
def test_no_two_names_of_files_lie_on_each_other(points: list[tuple[float, float]]) -> None:
    told = [Point(f"gguf:Q{place}_K_M", x, Estimate(y), best=place == 0) for place, (x, y) in enumerate(points)]
    trade = TradeOff("code", "heldout.loss", "lower", "size_bytes", "lower", told)
    names = [element for element in parsed(trade_off_drawing(trade, "x")) if element.get("class") == "name"]
    boxes = []
    for name in names:
        width = len(name.text or "") * 6.4
        start = float(name.attrib["x"]) - (width if name.get("text-anchor") else 0)
        boxes.append((start, start + width, float(name.attrib["y"])))
    assert len(names) == len(points)
    for (a, b, y), (c, d, z) in combinations(boxes, 2):
        assert b <= c + 0.2 or d <= a + 0.2 or abs(y - z) > 12.5


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 9)), min_size=1, max_size=9))
def test_no_two_boxes_of_a_lineage_lie_on_each_other(shape: list[tuple[int, int]]) -> None:
    boxes, width, height = placed(family(shape))
    assert len(boxes) == 1 + sum(1 + formats for _, formats in shape)
    for one, other in combinations(boxes.values(), 2):
        apart = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert apart or one.y + one.height <= other.y or other.y + other.height <= one.y
    assert all(box.x >= 0 and box.y >= 0 and box.x + box.width <= width and box.y + box.height <= height
               for box in boxes.values())  # fmt: skip


def family(shape: list[tuple[int, int]]) -> Lineage:
    """Variants with (whom they start from: an earlier one, or the base; how many formats)."""
    nodes, edges = [Node("base:b", "base", "b", "", "here")], []
    for number, (parent, formats) in enumerate(shape):
        nodes.append(Node(f"variant:{number}", "variant", str(number), "", "here"))
        source = f"variant:{parent}" if parent < number else "base:b"
        edges.append(Edge(source, f"variant:{number}", "from" if parent < number else "trained"))
        for place in range(formats):
            nodes.append(Node(f"format:{number}:{place}", "format", str(place), "", "pass"))
            edges.append(Edge(f"variant:{number}", f"format:{number}:{place}", "made"))
    return Lineage(nodes, edges)


def test_a_lineage_of_a_thousand_variants_is_drawn_in_part_and_says_so() -> None:
    lineage = family([(9999, 1)] * 1000)
    assert rows_left_out(lineage) == 940
    assert len(lineage_drawing(lineage, "x")) < 60_000


def test_parts_fill_the_bar_and_nothing_at_all_is_no_failure() -> None:
    bar = parsed(parts_drawing([("a", 1.0), ("b", 3.0)], "x"))
    assert [(part.get("x"), part.get("width")) for part in bar if part.tag == "rect"] == [
        ("0.000%", "25.000%"),
        ("25.000%", "75.000%"),
    ]
    assert parsed(parts_drawing([("a", 0.0)], "x")).tag == "svg"
