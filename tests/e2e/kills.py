"""An apply in a process of its own that is killed (SIGKILL) at a chosen crossing of a chosen step.

The process is a fork of a fork server that has imported the heavy libraries once, so that a case costs no start-up.
Crossings are the places in ``fsops`` where a kill could split one change from the next, and every progress report
of a step (so that kills also hit the middle of training, converting and evaluating).
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.forks import forks_of
from variantforge import Resolver, Store, build_plan, fsops, load_family, run_plan
from variantforge.run.inline import Inline
from variantforge.run.results import Silent

IMPORTED = ("variantforge.run.heavy", "tests.e2e.kills")


class Point(NamedTuple):
    """The nth crossing of one step. A run that goes on from a checkpoint may have fewer: it is killed as soon as it
    starts a step that is not among ``before`` (the labels of this step and of all in front of it)."""

    label: str
    index: int
    before: frozenset[str] = frozenset()


def apply(family: Path, store: Path, *, kill_at: Point | None = None, trace: Path | None = None) -> int | None:
    """Plans and applies ``family``; returns the exit code of the process (0 done, 1 failed, -9 killed)."""
    process = forks_of(*IMPORTED).Process(target=_apply, args=(family, store, kill_at, trace))
    process.start()
    process.join()
    return process.exitcode


def _apply(family: Path, store: Path, kill_at: Point | None, trace: Path | None) -> None:
    class Watch(Silent):
        def __init__(self) -> None:
            self.label = ""
            self.count: dict[str, int] = {}

        def step_started(self, key: str, label: str) -> None:
            self.label = label
            if kill_at is not None and label not in kill_at.before:
                os.kill(os.getpid(), signal.SIGKILL)

        def event(self, key: str, event: Mapping[str, Any]) -> None:
            self.cross("progress")

        def cross(self, name: str, path: Path | None = None) -> None:
            index = self.count[self.label] = self.count.get(self.label, 0) + 1
            if trace is not None:
                with open(trace, "a") as file:
                    file.write(json.dumps([self.label, index, name]) + "\n")
            if kill_at is not None and kill_at[:2] == (self.label, index):
                os.kill(os.getpid(), signal.SIGKILL)

    watch = Watch()
    fsops.crossing = watch.cross
    resolver = Resolver(cache=store / "pins.json")
    plan = build_plan(load_family(family), resolver)
    report = run_plan(plan, Store(store), reporter=watch, heavy=Inline)
    bad = {
        plan.label(key): report.results[key].message for key in report.keys("failed", "not run", "stopped", "refused")
    }
    if bad:
        print(json.dumps(bad, indent=1))  # noqa: T201 - shown by pytest when the case fails
    raise SystemExit(1 if bad else 0)


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> digest of every file under a published folder."""
    from variantforge.hashing import file_digest

    return {
        path.relative_to(folder).as_posix(): file_digest(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
