"""``vf check``: everything that is wrong with a family file, at once."""

from __future__ import annotations

import typer

from variantforge.cli.opening import open_family
from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json, StoreFolder
from variantforge.cli.output import Output
from variantforge.cli.words import counted

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf check
  vf check families/qwen.yaml --json
"""  # fmt: skip


@app.command(epilog=_EXAMPLES)
def check(ctx: typer.Context, file: File = DEFAULT_FILE, store: StoreFolder = None, as_json: Json = False) -> None:
    """Tell every problem of a family file, each with its line.

    Reads the file and lays out the whole plan: unknown keys, wrong values, missing files and data, unknown training
    arguments, gates on what nobody measures. Runs nothing.
    """
    out: Output = ctx.obj
    opened = open_family(file, store, out)
    variants, steps = len(opened.plan.family.variants), len(opened.plan.steps)
    if as_json:
        family = opened.plan.family
        out.json({"ok": True, "family": family.family, "version": family.version, "variants": variants, "steps": steps})
    out.line(("ok:", "ok"), f"{counted(variants, 'variant')}, {counted(steps, 'step')}")
