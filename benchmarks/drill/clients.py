"""A release in a process of its own: forked from a server that has imported the client once, killed from outside."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.drill import toys
from tests.release import lab

from variantforge.errors import VariantforgeError
from variantforge.release.desired import Desired
from variantforge.release.hub import Hub, Patience
from variantforge.release.journal import Releases
from variantforge.release.planning import plan_release
from variantforge.release.transaction import release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess
    from sqlite3 import Connection
    from threading import Barrier

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["huggingface_hub.hf_api", "benchmarks.drill.clients"])
PATIENCE = Patience(down_s=20, busy_s=20)
Mode = Literal["lfs", "xet"]


def settle_client(mode: Mode) -> None:
    """huggingface_hub as the drill needs it: online, by one way of large files, and without a pause anywhere."""
    import huggingface_hub.constants as constants

    constants.HF_HUB_OFFLINE = False
    constants.HF_HUB_DISABLE_XET = mode == "lfs"
    quiet: Any = "huggingface_hub.utils._http"
    __import__(quiet, fromlist=["time"]).time = SimpleNamespace(sleep=lambda seconds: None)


def speaker(endpoint: str, token: str, answer_s: float = 60.0) -> Hub:
    return Hub(endpoint, token, pause=lambda seconds: None, patience=PATIENCE, answer_s=answer_s)


class Deadly(Releases):
    """A journal at whose n-th opening this process is killed: before it is read or written, or right after."""

    at, when, opened, counting = 0, "before", 0, threading.Lock()

    @contextmanager
    def _open(self, *, write: bool = True) -> Iterator[Connection]:
        with self.counting:
            Deadly.opened = number = Deadly.opened + 1
        if (number, self.when) == (self.at, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        with super()._open(write=write) as connection:
            yield connection
        if (number, self.when) == (self.at, "after"):
            os.kill(os.getpid(), signal.SIGKILL)


def start(*arguments: Any) -> BaseProcess:
    """See ``_run``; the process is running when this returns."""
    process = CONTEXT.Process(target=_run, args=arguments)
    process.start()
    return process


def _run(
    at: tuple[str, str],
    folder: Path,
    wanted: Desired,
    mode: Mode = "lfs",
    barrier: Barrier | None = None,
    journal_kill: tuple[int, str] | None = None,
) -> None:
    """Plans, waits for the others at the barrier, releases; leaves ``result.json`` in the folder."""
    settle_client(mode)
    hub = speaker(*at)
    journal = lab.journal(folder)
    if journal_kill:
        Deadly.at, Deadly.when = journal_kill
        journal = Deadly(journal.path)
    told: dict[str, Any] = {"error": None}
    try:
        plan = plan_release(wanted, hub)
        if barrier is not None:
            barrier.wait(60)
        release(plan, hub, journal)
    except VariantforgeError as error:
        told = {"error": type(error).__name__, "what": error.what, "why": error.why, "next": error.next}
    (folder / "result.json").write_text(json.dumps(told | {"journal": Deadly.opened}))


__all__ = ["CONTEXT", "Deadly", "Mode", "settle_client", "speaker", "start", "toys"]
