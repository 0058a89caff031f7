"""What commands about a release share: which one is meant, how another one is put in its place, how a wait is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variantforge.cli.changes import changes_document, write_changes
from variantforge.cli.hub import Progress, confirm, open_hub, releases_of, releasing, write_released
from variantforge.cli.opening import family_file, store_of
from variantforge.cli.output import Output
from variantforge.cli.words import counted
from variantforge.errors import UsageError

if TYPE_CHECKING:
    from variantforge.release.hub import Hub
    from variantforge.release.journal import Phase
    from variantforge.release.planning import ReleasePlan
    from variantforge.release.record import Channel
    from variantforge.spec.family import FamilySpec
    from variantforge.store.artifacts import Store


class ChannelName(StrEnum):
    stable = "stable"
    candidate = "candidate"


IndexRepo = Annotated[
    str | None,
    typer.Option("--index", metavar="ORG/NAME", help="The repo with release.json; needs no family file."),
]
OfChannel = Annotated[
    ChannelName | None, typer.Option("--channel", help="stable or candidate.  [default: that of the family file]")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Write to the Hub without asking: for CI.")]


@dataclass(frozen=True)
class Target:
    """The releases that a command is about. ``spec`` is None where ``--index`` names them without a family file."""

    index: str
    channel: Channel
    store: Store
    spec: FamilySpec | None = None


def target_of(file: Path, index: str | None, channel: ChannelName | None, store: Path | None, out: Output) -> Target:
    """Raises UsageError when there is neither ``--index`` nor a family file that publishes to the Hub."""
    if index is not None:
        check_repo(index)
        return Target(index, channel.value if channel else "stable", store_of(file, store))
    from variantforge.spec.load import load_family

    path = family_file(file, out)
    return target_in(load_family(path).spec, path, channel, store_of(path, store))


def target_in(spec: FamilySpec, path: Path, channel: ChannelName | None, store: Store) -> Target:
    from variantforge.stages.card.repos import index_of

    if spec.publish.to != "hub" or not spec.publish.namespace:
        raise UsageError(
            f"{path} is not published to the Hub",
            next=f"write 'to: hub' and a namespace under publish in {path}, or name a release with --index ORG/NAME",
        )
    return Target(index_of(spec), channel.value if channel else spec.publish.channel, store, spec)


def check_repo(text: str) -> None:
    """Raises UsageError for what cannot be the name of a repo on the Hub."""
    from variantforge.refs import Ref

    try:
        ref = Ref.parse(text)
    except ValueError:
        ref = Ref("path", text)
    if ref.kind != "hub" or ref.revision is not None:
        raise UsageError(f"'{text}' is no repo on the Hub", next="write it as ORG/NAME, for example acme/quick")


class Counting(Progress):
    """Progress over repos that are read, not written."""

    def __init__(self, out: Output, doing: str) -> None:
        super().__init__(out)
        self.doing = doing

    def phase(self, phase: Phase, repos: int) -> None:
        with self._lock:
            self._wanted, self._through = repos, 0
            if repos:
                self.out.note((self.doing, "bold"), counted(repos, "repo"))


def put_in_place(
    out: Output, target: Target, plan_of: Callable[[Hub], ReleasePlan], yes: bool
) -> tuple[ReleasePlan, dict[str, Any]]:
    """Shows what another release in this one's place would write, asks, and writes it; the plan and its document."""
    from variantforge.release.transaction import release

    journal = releases_of(target.store)
    with releasing(target.store) as stop:
        hub = open_hub(out, journal, stop)
        out.note(("looking", "bold"), f"at {target.index} on {hub.endpoint}")
        plan = plan_of(hub)
        out.line(("Hub", "bold"), hub.endpoint)
        write_changes(out, plan)
        if plan.nothing_to_do:
            return plan, {**changes_document(plan), "wrote": False}
        confirm(out, yes, f"Write this to {hub.endpoint}?")
        report = release(plan, hub, journal, Progress(out), stop)
    write_released(out, report)
    return plan, {**changes_document(plan), "wrote": report.wrote, "mixed_window_s": round(report.window_s, 3)}
