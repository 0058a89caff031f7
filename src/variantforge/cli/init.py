"""``vf init``: a family file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, again, must_take_a_file
from variantforge.cli.output import Output
from variantforge.errors import UsageError

STARTER = Path(__file__).parent / "starter.yaml"

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf init                      writes family.yaml here
  vf init families/qwen.yaml
"""  # fmt: skip


@app.command(epilog=_EXAMPLES)
def init(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to write; it must not be there yet.")] = DEFAULT_FILE,
) -> None:
    """Write a commented family file that plans and runs as it is.

    It fine-tunes SmolLM2-135M on Python's own standard library: small enough for two CPU cores, no token needed.
    """
    from variantforge.fsops import write_bytes

    out: Output = ctx.obj
    must_take_a_file(file, out.command("init", file / DEFAULT_FILE if file.is_dir() else DEFAULT_FILE))
    if file.exists() or file.is_symlink():
        raise UsageError(
            f"{file} is there already",
            why="It was not touched.",
            next=out.command("init", file.with_name(f"{file.stem}-2.yaml")),
        )
    write_bytes(file, STARTER.read_bytes())
    out.line(("ok:", "ok"), f"wrote {file}")
    out.line(("next:", "cyan"), again(out, "plan", file))
