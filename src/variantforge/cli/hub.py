"""What commands that speak to the Hub have in common: the client, the question before writing, and the progress."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from variantforge.cli.output import Output
from variantforge.cli.words import counted, duration
from variantforge.errors import Refused

if TYPE_CHECKING:
    from variantforge.release.hub import Hub
    from variantforge.release.journal import Phase, Releases
    from variantforge.release.transaction import ReleaseReport
    from variantforge.store.artifacts import Store

_LOOK_S = 10.0  # a look waits no longer than this for a Hub that is down or busy; a release is more patient
_HOUR_S = 3600

# A phase -> what is being done with the repos.
_PHASES = {
    "stage": "uploading to staging branches",
    "verify": "reading back from the Hub",
    "commit": "deciding: release.json",
    "expose": "making it visible",
    "tidy": "collection and tidying",
}


def releases_of(store: Store) -> Releases:
    """The journal of releases in a store."""
    from variantforge.release.journal import FILE, Releases

    return Releases(store.root / FILE)


def open_hub(
    out: Output, journal: Releases | None = None, stop: threading.Event | None = None, *, look: bool = False
) -> Hub:
    """The Hub of this environment. ``journal`` feeds its budget of commits; ``look``: give up soon."""
    from variantforge.release.hub import Budget, Hub, Patience

    made = journal.commit_times(time.time() - _HOUR_S) if journal else []
    return Hub(
        tell=out.note,
        stopping=stop.is_set if stop else lambda: False,
        budget=Budget(made),
        patience=Patience(down_s=_LOOK_S, busy_s=_LOOK_S) if look else None,
    )


def confirm(out: Output, yes: bool, question: str, refusal: str = "nothing was written to the Hub") -> None:
    """Returns when the user agrees, by ``--yes`` or at the terminal. Raises Refused, with ``refusal``, otherwise."""
    if yes:
        return
    agree = f"{out.same_command} --yes"
    if not (sys.stdin.isatty() and out.is_terminal("stderr")):
        raise Refused(
            f"{refusal}: nobody is here to say yes",
            why=f"The question is: {question}",
            next=agree,
        )
    sys.stderr.write(f"{question} Only 'yes' is taken as yes: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise Refused(f"{refusal}: the answer was not yes", next=agree)


class Progress:
    """A line when a phase begins and one for every repo that is through; to stderr, from several threads."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self._lock = threading.Lock()
        self._wanted = self._through = 0

    def phase(self, phase: Phase, repos: int) -> None:
        with self._lock:
            self._wanted, self._through = repos, 0
            if phase in _PHASES:
                told = f": {counted(repos, 'repo')}" if repos > 1 else ""
                self.out.note((f"{phase:7}", "bold"), f"{_PHASES[phase]}{told}")

    def done(self, phase: Phase, repo: str, what: str) -> None:
        with self._lock:
            self._through += 1
            self.out.note((f"[{self._through}/{max(self._wanted, self._through)}]", "dim"), f"{repo} {what[:12]}")

    def note(self, text: str) -> None:
        with self._lock:
            self.out.note(("note:", "yellow"), text)


@contextmanager
def releasing(store: Store) -> Iterator[threading.Event]:
    """For the time of a release: one writer on the store; Ctrl-C sets the event that is handed out."""
    from variantforge.run.stopping import stop_on_signals

    stop = threading.Event()
    with store.locked(), stop_on_signals(stop):
        yield stop


def write_released(out: Output, report: ReleaseReport) -> None:
    """The end of a release, for people."""
    record = report.record
    out.line(
        ("released", "ok"),
        f"{record.family} {record.version} on {record.channel}: {counted(len(record.repos), 'repo')}",
    )
    if report.window_s:
        out.line(f"the branches disagreed for {duration(report.window_s)}; whoever follows release.json saw none of it")
