"""``vf drift``: how the Hub differs from what was released there. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variantforge.cli.hub import open_hub
from variantforge.cli.markdown import write_markdown
from variantforge.cli.opening import open_family
from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json, StoreFolder, again
from variantforge.cli.output import Cell, Output
from variantforge.cli.releases import IndexRepo, OfChannel, target_in, target_of
from variantforge.cli.words import counted
from variantforge.errors import DriftFound, UsageError

if TYPE_CHECKING:
    from variantforge.cli.releases import ChannelName
    from variantforge.release.drift import DriftReport, Finding

app = typer.Typer(**STYLE)
_EXAMPLES = (
    EXAMPLES_HEADING
    + """
  vf drift                       spec, lock, store and Hub of ./family.yaml
  vf drift --index acme/quick    without a family file: release.json against the Hub
  vf drift --channel candidate
  vf drift --json                for programs
  vf drift --markdown            for a job's summary; also appended to $GITHUB_STEP_SUMMARY

\b
Exit codes:
  0 no drift   1 the Hub did not answer   2 wrong file or arguments   4 drift
"""
)
_FAMILY_COMMANDS = ("apply", "plan", "lock", "import")  # that take FILE


@app.command(epilog=_EXAMPLES)
def drift(
    ctx: typer.Context,
    file: File = DEFAULT_FILE,
    index: IndexRepo = None,
    channel: OfChannel = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a summary in Markdown.")] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Name every difference between what was released and what is there.

    Each with its repo, who made it and since when (where the Hub says), and what to type: edited cards, deleted or
    changed files, moved tags, visibility, the collection, bases and data that moved away from the lock. What people
    may do (text around ours in a card, files of their own) is told, and is no drift.
    """
    out: Output = ctx.obj
    if as_json and markdown:
        raise UsageError("--json and --markdown exclude each other", next=out.command("drift", "--json"))
    report = _look(out, file, index, channel, store)
    if index is None:
        report = replace(report, findings=tuple(_own_words(out, file, finding) for finding in report.findings))
    if as_json:
        out.json(report.document)
    elif markdown:
        write_markdown(out, report.markdown())
    else:
        write(out, report)
    if report.drifted:
        raise DriftFound(
            f"{report.record.index.repo} is not as {report.record.version} released it: "
            f"{counted(len(report.drifted), 'difference')}",
            next=report.drifted[0].next,
        )


def _look(out: Output, file: Path, index: str | None, channel: ChannelName | None, store: Path | None) -> DriftReport:
    from variantforge.release.drift import drift_of
    from variantforge.release.drift.family import family_findings

    hub = open_hub(out, look=True)
    if index is not None:
        target = target_of(file, index, channel, store, out)
        out.note(("looking", "bold"), f"at {target.index} on {hub.endpoint}")
        return drift_of(hub, target.index, target.channel)
    opened = open_family(file, store, out)
    target = target_in(opened.file.spec, opened.file.path, channel, opened.store)
    out.note(("looking", "bold"), f"at {target.index} on {hub.endpoint}")
    more = family_findings(opened.file.spec, opened.plan, opened.lock, opened.store)
    return drift_of(hub, target.index, target.channel, more)


def _own_words(out: Output, file: Path, finding: Finding) -> Finding:
    """The command to type with the user's own FILE in it."""
    program, _, rest = finding.next.partition(" ")
    command, gap, more = rest.partition(" ")
    if program != "vf" or command not in _FAMILY_COMMANDS:
        return finding
    return replace(finding, next=f"{again(out, command, file)}{gap}{more}")


def write(out: Output, report: DriftReport) -> None:
    """The differences for people, drift first."""
    record = report.record
    _table(out, [(_kind(it.kind), "red") for it in report.drifted], report.drifted)
    if report.told:
        out.line("no drift, but worth knowing")
        _table(out, [(_kind(it.kind), "dim") for it in report.told], report.told)
    repos = counted(len(record.repos), "repo")
    if not report.drifted:
        told = f"{record.index.repo} and its {repos} are as {record.version} ({record.channel}) released them"
        out.line(("no drift:", "ok"), told)


def _kind(kind: str) -> str:
    return kind.replace("_", " ")


def _table(out: Output, words: Sequence[Cell], findings: Sequence[Finding]) -> None:
    rows = [(word, it.repo, _told(it)) for word, it in zip(words, findings, strict=True)]
    if rows:
        out.table(rows)
    for next in dict.fromkeys(it.next for it in findings if it.next):
        out.line("   ", ("→", "cyan"), next)


def _told(it: Finding) -> str:
    when = it.since[:16].replace("T", " ")
    by = " ".join(part for part in (f"by {it.who}" if it.who else "", f"on {when}" if when else "") if part)
    return f"{it.what} ({by})" if by else it.what
