"""The report as one HTML file: style, script and drawings inside; a policy that lets it fetch nothing.

Every text that came from a file, a dataset or a model is escaped by the template engine. Style and script are let in
by their digests alone, so that not even a text that slipped through could run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from variantforge.report.document import Cell, Estimate, GatePanel, Report, TradeOff
from variantforge.report.sheet import sheet_of
from variantforge.report.svg import bars, curve, interval, tradeoff, tree
from variantforge.report.svg.scale import Scale
from variantforge.stages.evaluate.metric import BASE
from variantforge.words import counted, duration, figure, size

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
MOST_CHARTS = 24  # of one kind; what is beyond stands in tables
MOST_TABLES = 40  # of measurements
FIRST_ITEMS = 2  # of answers that are seen at once; the others unfold
MOST_ROWS = 400  # of one table
_TINY = 1e-4  # below it figures would be written with an exponent
_SIGNS = {**tree.SIGNS, "failed": "✕", "damaged": "✕", "blocked": "■", "not made": "…", "not needed": "·"}


def page(report: Report) -> str:
    """The whole file. Equal reports give equal bytes."""
    style, script = _file("style.css"), _file("script.js")
    return _environment().get_template("report.html.jinja").render(
        report=report,
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
        panels=[_panel(panel) for panel in report.gates],
        scales=_scales(report),
        matrix=_matrix(report),
        trade_offs=[trade for trade in report.trade_offs if not alike(trade)],
        alike=[trade for trade in report.trade_offs if alike(trade) and trade.against == "size_bytes"],
        most_rows=MOST_ROWS,
        most_charts=MOST_CHARTS,
        most_tables=MOST_TABLES,
        first_items=FIRST_ITEMS,
    )  # fmt: skip


def policy(style: str, script: str) -> str:
    """The content security policy: nothing from anywhere, but the style and the script that stand in the page."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _file(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "counted": counted,
        "duration": duration,
        "figure": lambda value: (short if 0 < abs(value) < _TINY else figure)(value).replace("-", "−"),
        "size": size,
        "signed": signed,
        "short": short,
        "rough": rough,
        "percent": lambda value: f"{100 * value:.3g} %",
        "when": when,
        "fact": fact,
        "words": lambda name: str(name).replace("_", " "),
        "unmeasured": unmeasured,
        "sheet": sheet_of,
        "slug": lambda word: word.replace(" ", "-"),
        "sign": lambda state: _SIGNS.get(state, ""),
    }
    environment.globals |= {
        "curve_drawing": curve.curve_drawing,
        "trade_off_drawing": tradeoff.trade_off_drawing,
        "lineage_drawing": tree.lineage_drawing,
        "rows_left_out": tree.rows_left_out,
        "parts_drawing": bars.parts_drawing,
        "gain_drawing": interval.gain_drawing,
        "row_drawing": interval.row_drawing,
    }
    return environment


def _matrix(report: Report) -> dict[str, dict[str, Cell]]:
    """Variant -> format -> cell, of the first variants where there are very many."""
    rows: dict[str, dict[str, Cell]] = {}
    for cell in report.cells:
        if cell.subject != BASE:
            rows.setdefault(cell.variant, {})[cell.subject] = cell
    return dict(islice(rows.items(), MOST_ROWS))


def alike(trade: TradeOff) -> bool:
    """Whether all files have the same figure: then size and speed cost nothing, and a drawing would say nothing."""
    return len({point.y.value for point in trade.points}) == 1


def unmeasured(cell: Cell, metric: str) -> str:
    """What stands in the place of a metric: ``missing`` only where an evaluation is to measure it, and has not."""
    return "missing" if any(metric.startswith(f"{title}.") for title in cell.awaited) else "–"


def _panel(panel: GatePanel) -> dict[str, Any]:
    """A panel of gates with the axis that its rows share; of very many rows, those first that did not pass."""
    if len(panel.rows) > MOST_ROWS:
        panel = replace(panel, rows=sorted(panel.rows, key=lambda row: row.verdict == "pass"))
    scale = interval.panel_scale(panel)
    better = f"← worse than {panel.vs}\u2003\u2003better →" if panel.vs else panel.metric
    return {"gate": panel, "scale": scale, "axis": interval.axis_drawing(scale, panel.vs, better)}


def _scales(report: Report) -> dict[tuple[str, str], Scale]:
    """The axis on which the gains of one metric over the base stand, by variant and metric."""
    gains: dict[tuple[str, str], list[Estimate]] = {}
    for suite in report.suites:
        for row in suite.rows:
            if "base" in row.gains:
                gains.setdefault((suite.variant, row.metric), []).append(row.gains["base"])
    return {axis: interval.gains_scale(found) for axis, found in gains.items()}


def signed(value: float) -> str:
    """``+0.31``, ``−0.02``: a gain."""
    return f"{'+' if value >= 0 else '−'}{short(abs(value))}"


def short(value: float) -> str:
    """Three digits that matter: a bound, which nobody reads as closely as the figure."""
    if abs(value) >= 1000:
        told = f"{value:,.0f}"
    elif 1e-7 <= abs(value) < _TINY:
        told = f"{value:.7f}".rstrip("0")  # and not 4.61e-05
    else:
        told = f"{value + 0.0:.3g}"
    return told.replace("-", "−")


def rough(value: float) -> str:
    """Two digits that matter of what is below one: a bound in a column that is narrow."""
    return short(float(f"{value:.2g}") if abs(value) < 1 else value)


def when(seconds: float) -> str:
    """Unix seconds as a date that means the same everywhere."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def fact(value: Any) -> str:
    """A fact of an artifact as text: numbers as figures, what has parts as JSON."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return figure(value) if isinstance(value, float) else json.dumps(value, sort_keys=True, ensure_ascii=False)
