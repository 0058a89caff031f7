"""Processes forked from a server that has imported what they need, so that each costs no start-up.

A process has one fork server, with the imports of whoever started it first: among many tests that was often another
one, and every fork then imported torch by itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

_CONTEXT = multiprocessing.get_context("forkserver")
_ours: tuple[int, tuple[str, ...]] | None = None  # the server that was started here, and what it has imported


def forks_of(*modules: str) -> ForkServerContext:
    """The context whose processes are forks of a server that has imported ``modules``; another server is ended.

    No process of the other one may still be needed.
    """
    global _ours
    server = forkserver._forkserver  # type: ignore[attr-defined]  # it cannot be asked what it has imported
    if _ours != (server._forkserver_pid, modules):
        if server._forkserver_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server._forkserver_pid, signal.SIGKILL)
            server._stop()
        _CONTEXT.set_forkserver_preload(list(modules))
        forkserver.ensure_running()
        _ours = (server._forkserver_pid, modules)
    return _CONTEXT
