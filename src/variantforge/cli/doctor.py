"""``vf doctor``: what this machine has, what it lacks, and what to type."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STORE_FOLDER, STYLE, File, Json, StoreFolder
from variantforge.cli.output import Output
from variantforge.errors import VariantforgeError

if TYPE_CHECKING:
    from variantforge.run.environment import Finding

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf doctor
  vf doctor --deep             import every library and ask the GPU: takes half a minute
  vf doctor --json > machine.json
"""  # fmt: skip


@app.command(epilog=_EXAMPLES)
def doctor(
    ctx: typer.Context,
    file: File = DEFAULT_FILE,
    deep: Annotated[bool, typer.Option("--deep", help="Also import the heavy libraries.")] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> int:
    """Look over Python, packages, tools, device, disk, store and Hub access.

    For a family that publishes to the Hub also: who am I there, may I write there, are the bases granted.
    What is missing is told with what it prevents and the command to type. Exit code 1 when something is wrong, 0 when
    something optional is missing. Tokens are never shown.
    """
    from variantforge.run.environment import examine

    out: Output = ctx.obj
    folder = file if file.is_dir() else file.parent
    store = store or folder / STORE_FOLDER
    findings = [*examine(store, deep=deep), *_release(file, store, out)]
    states = Counter(finding.state for finding in findings)
    if as_json:
        out.json({"summary": dict(states), "findings": [asdict(finding) for finding in findings]})
    write(out, findings)
    return 1 if states["wrong"] else 0


def _release(file: Path, store: Path, out: Output) -> list[Finding]:
    """What a release of this family would meet on the Hub; nothing when there is no family that is released there."""
    from variantforge.spec.load import load_family

    try:
        family = load_family(file / DEFAULT_FILE if file.is_dir() else file).spec
    except (VariantforgeError, OSError):  # no file, or one with problems: 'check' tells of those
        return []
    if family.publish.to != "hub":
        return []
    from variantforge.cli.hub import open_hub
    from variantforge.release.journal import FILE, Releases
    from variantforge.release.preflight import preflight, wish_of

    return preflight(open_hub(out, Releases(store / FILE), look=True), wish_of(family), store)


def write(out: Output, findings: list[Finding]) -> None:
    """Findings as a table; what each missing thing prevents, and the command, under it."""
    out.table([((finding.state, finding.state), finding.name, finding.found) for finding in findings], indent=0)
    for finding in findings:
        if finding.state != "ok" and (finding.prevents or finding.next):
            out.line()
            out.line(
                (f"{finding.name}:", "bold"), f"prevents {finding.prevents}" if finding.prevents else finding.found
            )
            if finding.next:
                out.line(("next:", "cyan"), finding.next)
