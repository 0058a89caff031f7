"""What every phase of a release is handed: the Hub, what is known of it, the journal, and who is told."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Protocol

from variantforge.errors import Interrupted
from variantforge.release.hub import Hub
from variantforge.release.journal import Phase, Releases
from variantforge.release.record import Record
from variantforge.release.snapshot import Snapshots


class Reporter(Protocol):
    """Who is told how a release goes. Called from several threads."""

    def phase(self, phase: Phase, repos: int) -> None:
        """A phase begins; so many repos will be told done."""

    def done(self, phase: Phase, repo: str, what: str) -> None: ...

    def note(self, text: str) -> None:
        """Something a person should read."""


class Silent:
    """A reporter that says nothing."""

    def phase(self, phase: Phase, repos: int) -> None: ...

    def done(self, phase: Phase, repo: str, what: str) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True)
class Work:
    hub: Hub
    journal: Releases
    snapshots: Snapshots
    reporter: Reporter = field(default_factory=Silent)
    stop: threading.Event = field(default_factory=threading.Event)

    def enter(self, record: Record, phase: Phase, repos: int = 0) -> None:
        self.journal.enter(record, phase)
        self.reporter.phase(phase, repos)

    def check_stop(self) -> None:
        """Only before the release is decided: after that, the shortest way to a whole state is on."""
        if self.stop.is_set():
            raise Interrupted(
                "stopped; nothing of this release can be seen yet",
                next="run the same command again: it goes on from here",
            )
