"""``vf rollback``: the whole family back to a version that was released before, by new commits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json, StoreFolder, again
from variantforge.cli.output import Output
from variantforge.cli.releases import IndexRepo, OfChannel, Target, Yes, put_in_place, target_of

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf rollback 1.0.0                      of ./family.yaml: shows it, asks, does it
  vf rollback 1.0.0 --yes                in CI
  vf rollback 1.1.0                      forward again, to a version that was taken back
  vf rollback 1.0.0 --index acme/quick   without the family file
"""  # fmt: skip


@app.command(epilog=_EXAMPLES)
def rollback(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version that was released, such as 1.0.0.")],
    file: File = DEFAULT_FILE,
    index: IndexRepo = None,
    channel: OfChannel = None,
    yes: Yes = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Restore every repo of the family as that version released it, as one release.

    New commits on top of the old ones: nothing is forced, no tag moves, and what people wrote into the cards stays.
    Repos that the version did not have are left as they are, and told. The family file is not touched: the next apply
    needs a version of its own.
    """
    from variantforge.release.promote import plan_rollback

    out: Output = ctx.obj
    target = target_of(file, index, channel, store, out)
    wanted = version.removeprefix("v")
    plan, document = put_in_place(
        out, target, lambda hub: plan_rollback(hub, target.index, wanted, target.channel), yes
    )
    if as_json:
        out.json(document | {"left": list(plan.changes.left)})
    _tell_of_file(out, target, wanted, file)


def _tell_of_file(out: Output, target: Target, version: str, file: Path) -> None:
    if target.spec is not None and target.spec.version != version:
        out.line(f"the family file says {target.spec.version} still; what it asks for next needs a new version")
        out.line(("next:", "cyan"), again(out, "plan", file))
