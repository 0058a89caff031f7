"""``vf promote``: what stands on one channel becomes the release of another. No upload; no gate is run again."""

from __future__ import annotations

from typing import Annotated

import typer

from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json, StoreFolder
from variantforge.cli.output import Output
from variantforge.cli.releases import ChannelName, IndexRepo, Yes, put_in_place, target_of

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf promote candidate stable                      of ./family.yaml: shows it, asks, does it
  vf promote candidate stable --yes                in CI
  vf promote candidate stable --index acme/quick   without the family file
"""  # fmt: skip


@app.command(epilog=_EXAMPLES)
def promote(
    ctx: typer.Context,
    source: Annotated[ChannelName, typer.Argument(metavar="FROM", help="The channel to take the release of.")],
    to: Annotated[ChannelName, typer.Argument(metavar="TO", help="The channel that gets it.")],
    file: File = DEFAULT_FILE,
    index: IndexRepo = None,
    yes: Yes = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Make the whole family of one channel that of another, as one release.

    The very commits that were measured and verified there: nothing is built, judged or uploaded again.
    """
    from variantforge.release.promote import plan_promotion

    out: Output = ctx.obj
    target = target_of(file, index, to, store, out)
    _, document = put_in_place(out, target, lambda hub: plan_promotion(hub, target.index, source.value, to.value), yes)
    if as_json:
        out.json(document)
