"""How rows are told to people: rendered ones with their mask, and what many of them are like."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from variantforge.cli.output import Cell, Output
from variantforge.cli.words import counted

if TYPE_CHECKING:
    from variantforge.stages.data.preview import Piece, Sample, View
    from variantforge.stages.data.statistics import Statistics

_BAR = 40  # columns of the longest bar
_SIGNS = {"green": ("⟦", "⟧"), "dim": ("✂", "✂")}  # around what is learned from, and what is beyond max_length


def write_sample(out: Output, sample: Sample, *, mask: bool) -> None:
    """A row as it is rendered; with ``mask``, what is learned from stands out."""
    label = "" if sample.label is None else f", label {str(sample.label).lower()}"
    out.line((f"row {sample.id}", "bold"), (f"{sample.source}, {sample.kind}{label}", "dim"))
    for view in sample.views:
        cut = sum(len(piece.text) for piece in view.pieces if piece.cut)
        told = f"{counted(view.tokens, 'token')}, {view.supervised} learned from{', the end is cut' if cut else ''}"
        out.line(*([view.name] if view.name != "row" else []), (told, "dim"))
        if view.problem:
            out.line(("cannot be trained on:", "wrong"), view.problem)
        out.text(_painted(view, mask=mask, coloured=out.coloured("stdout")))
    out.line("")


def _painted(view: View, *, mask: bool, coloured: bool) -> list[Cell]:
    """Neighbours of one style as one cell, between signs where there is no colour to tell them by."""
    cells: list[Cell] = []
    for style, group in groupby(view.pieces, lambda piece: _style(piece, mask)):
        text = visible("".join(piece.text for piece in group))
        opening, closing = ("", "") if coloured else _SIGNS.get(style, ("", ""))
        cells.append((f"{opening}{text}{closing}", style))
    return cells


def _style(piece: Piece, mask: bool) -> str:
    if piece.cut:
        return "dim"
    return "green" if mask and piece.supervised else "cyan" if piece.special else ""


def visible(text: str) -> str:
    """The text with its white space to be seen: ``↵`` line ends, ``⇥`` tabs, ``·`` spaces that an eye would miss."""
    lines = text.replace("\t", "⇥").replace("\r", "␍").split("\n")
    return "↵\n".join(_dotted(line) for line in lines)


def _dotted(line: str) -> str:
    """Spaces at both ends, and all but the first of several, as dots."""
    inner = line.strip(" ")
    lead = len(line) - len(line.lstrip(" "))
    tail = len(line) - lead - len(inner)
    while "  " in inner:
        inner = inner.replace("  ", " ·")
    return "·" * lead + inner + "·" * tail


def write_check(out: Output, name: str, facts: Mapping[str, Any], found: Statistics) -> None:
    """What the rows of a variant are like. ``facts``: of its mix."""
    out.line((name, "bold"), f"{counted(facts['train'], 'row')} to train on, {facts['heldout']} held out")
    out.table([_source_row(source, one) for source, one in facts["sources"].items()], right=(1,))
    if lengths := found.lengths:
        sides = f" ({lengths.rows:,} sides)" if lengths.rows > found.read else ""
        told = f"p50 {lengths.p50:,}, p90 {lengths.p90:,}, p99 {lengths.p99:,}, longest {lengths.max:,}"
        out.line(f"  tokens of {counted(found.read, 'row')}{sides}: {told}")
        most = max(rows for _, _, rows in lengths.histogram)
        bars = [
            (f"{low:,}-{high:,}", f"{rows:,}", "█" * max(round(_BAR * rows / most), rows > 0))
            for low, high, rows in lengths.histogram
        ]
        out.table(bars, indent=4, right=(0, 1))
        out.line(f"  {100 * found.supervised:.1f} % of the tokens read are learned from")
    if found.max_length is not None:
        share = 100 * found.cut / max(lengths.rows, 1) if lengths else 0.0
        out.line(f"  max_length {found.max_length:,}: {share:.1f} % are cut, {found.lost:,} lose every answer")
    near = facts.get("near_duplicates", {})
    left = f" and {near['train'] + near['heldout']:,} near" if near else ""
    there = f"{found.near_duplicates:,} near ones ({found.near:g}) among {counted(found.read, 'row')}"
    out.line(f"  duplicates: {facts.get('duplicates', 0):,} equal{left} dropped; {there}")
    for suite, hits in facts.get("contamination", {}).items():
        done = f" in {hits['rows']:,} rows, {'dropped' if hits['dropped'] else 'kept'}" if hits["hit"] else ""
        out.line(f"  suite {suite}: {hits['hit']:,} of {hits['items']:,} items found{done}")
    odd = {**found.found, **{f"{token} in texts": rows for token, rows in found.control_tokens.items()}}
    out.table(
        [(f"{rows:,}", what, f"e.g. {', '.join(_examples(found, what))}") for what, rows in odd.items()], right=(0,)
    )


def _examples(found: Statistics, what: str) -> list[str]:
    return found.places.get(what.removesuffix(" in texts"), [])


def _source_row(source: str, one: Mapping[str, Any]) -> tuple[Cell, ...]:
    times = one["train"] / one["of"] if one.get("of") else 0.0
    read = f"{100 * one['share']:.1f} % of what is read; {one.get('of', one['train']):,} rows, {times:.3g} times each"
    return source, f"{one['train']:,}", read
