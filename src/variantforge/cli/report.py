"""``vf report``: one HTML file that tells how a family came out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from variantforge.cli.opening import open_family
from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json, StoreFolder, again, shown
from variantforge.cli.output import Output
from variantforge.cli.words import size
from variantforge.errors import UsageError

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf report                          of ./family.yaml, into report.html
  vf report qwen.yaml -o qwen.html   of another file, into another file
  vf report --open                   and show it in the browser
  vf report --json | jq .gates       the same as data
"""  # fmt: skip


@app.command(epilog=_EXAMPLES)
def report(
    ctx: typer.Context,
    file: File = DEFAULT_FILE,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="HTML", help="The file to write.", show_default=True)
    ] = Path("report.html"),
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Write one HTML file with lineage, verdicts, measurements, answers, training, data and costs.

    It holds all it needs and fetches nothing. What is not made yet is said to be missing. With --json the same is
    printed as data, and no file is written.
    """
    from variantforge.report import gather

    out: Output = ctx.obj
    opened = open_family(file, store, out)
    found = gather(opened.plan, opened.store, apply=again(out, "apply", file))
    if as_json:
        out.json(asdict(found))
        return
    _write(output, found)
    there = f"{found.summary.steps_here} of {found.summary.steps} steps are here"
    out.line(("report:", "bold"), f"{shown(output)} ({size(output.stat().st_size)}; {there})")
    if found.missing:
        out.line(("next:", "cyan"), found.apply)
    if open_it:
        import webbrowser

        webbrowser.open(output.resolve().as_uri())


def _write(output: Path, found: Any) -> None:
    from variantforge.fsops import write_text
    from variantforge.report.page import page

    if output.is_dir():
        raise UsageError(f"{output} is a folder", next="name the file to write: -o report.html")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", next=f"mkdir -p {output.parent}")
    write_text(output, page(found))
