"""``vf retire``: a banner on an old repo that sends its readers to the one that takes its place. Deletes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variantforge.cli.hub import confirm, open_hub
from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json
from variantforge.cli.output import Output
from variantforge.cli.releases import Yes, check_repo, target_of
from variantforge.errors import UsageError

if TYPE_CHECKING:
    from variantforge.release.hub import Hub

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf retire acme/old-code --new-version acme/new-code
  vf retire acme/old-code            the repo of the family's release with the same variant and form
  vf retire acme/old-code --undo     takes the banner away
"""  # fmt: skip


@app.command(epilog=_EXAMPLES)
def retire(
    ctx: typer.Context,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="The repo on the Hub that is to be retired.")],
    file: File = DEFAULT_FILE,
    new_version: Annotated[
        str | None, typer.Option("--new-version", metavar="OTHER", help="The repo that takes its place.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the banner away.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Set new_version on a repo's card, by one commit; the Hub shows it as a banner.

    All else stays as it is: files, tags, downloads. A retired repo is no drift, and a later release keeps the banner.
    """
    from variantforge.release.retire import plan_retirement
    from variantforge.release.retire import retire as write_retirement

    out: Output = ctx.obj
    if undo and new_version:
        raise UsageError("--undo and --new-version exclude each other", next=out.command("retire", repo, "--undo"))
    for name in (repo, new_version):
        if name is not None:
            check_repo(name)
    hub = open_hub(out)
    out.note(("looking", "bold"), f"at {repo} on {hub.endpoint}")
    other = "" if undo else new_version or _successor(hub, repo, file, out)
    plan = plan_retirement(hub, repo, other)
    if plan.nothing_to_do:
        told = f"{repo} {f'sends its readers to {other} already' if other else 'is not retired'}"
        out.line(("nothing to do:", "ok"), told)
    else:
        owner = f" of the family {plan.family}" if plan.family else ", which is of no family"
        out.line((plan.word, "bold"), f"{repo}{owner}: new_version {plan.before or 'nothing'} → {other or 'nothing'}")
        confirm(out, yes, f"Write this to {hub.endpoint}?")
    oid = write_retirement(plan, hub)
    if not plan.nothing_to_do:
        out.line(("done:", "ok"), f"{hub.page(repo)}/commit/{oid}")
    if as_json:
        words = {"repo": repo, "new_version": other, "before": plan.before}
        out.json({**words, "commit": oid, "wrote": not plan.nothing_to_do})


def _successor(hub: Hub, repo: str, file: Path, out: Output) -> str:
    """By the family's stable release. Raises UsageError where nothing tells."""
    from variantforge.release.observed import observe
    from variantforge.release.retire import successor_in
    from variantforge.release.snapshot import Snapshots

    if not file.exists():
        next = out.command("retire", repo, "--new-version", "ORG/OTHER")
        raise UsageError("there is no family file that tells which repo takes its place", next=next)
    target = target_of(file, None, None, None, out)
    record = observe(hub, target.index, target.channel, Snapshots(hub)).record
    if record is None:
        raise UsageError(
            f"{target.index} has no release yet", next=out.command("retire", repo, "--new-version", "OTHER")
        )
    return successor_in(record, hub, repo)
