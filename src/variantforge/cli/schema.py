"""``vf schema``: the JSON Schema of a family file, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from variantforge.cli.options import EXAMPLES_HEADING, STYLE, must_take_a_file
from variantforge.cli.output import Output

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf schema --write schema.json
  # then make this the first line of family.yaml:
  #   yaml-language-server: $schema=./schema.json
"""  # fmt: skip


@app.command(epilog=_EXAMPLES)
def schema(
    ctx: typer.Context,
    write: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write it there, whole or not at all, instead of printing it.")
    ] = None,
) -> None:
    """Print the JSON Schema of a family file, for editors.

    An editor that knows it completes keys, explains them, and underlines typos."""
    from variantforge.fsops import write_json
    from variantforge.spec import schema as family_schema

    out: Output = ctx.obj
    document = family_schema.schema()
    if write is None:
        out.json(document)
        return
    must_take_a_file(write, out.command("schema", "--write", "schema.json"))
    write_json(write, document)
    out.line(("ok:", "ok"), f"wrote {write}")
