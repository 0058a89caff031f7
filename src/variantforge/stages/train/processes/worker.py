"""One process of several that do a train step: ``python -m … <descriptor of its pipe> <process id of the step>``."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from variantforge import redact
from variantforge.errors import VariantforgeError
from variantforge.fsops import make_folder, remove_tree
from variantforge.step import StepContext

_PR_SET_PDEATHSIG = 1


def main() -> None:
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    _live_with(parent)
    pipe = Connection(descriptor)
    outcome = _outcome(pipe, pipe.recv())
    with contextlib.suppress(OSError):
        pipe.send(outcome)
    sys.stdout.flush()
    os._exit(0)  # a process group that has lost a member does not always let go


def _live_with(parent: int) -> None:
    """Dies with the step's process, and leaves the signals of the terminal to it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before this
        os._exit(1)
    for name, value in os.environ.items():
        if redact.is_secret(name):
            redact.learn(value)
    redact.hush_logs()


def _outcome(pipe: Connection, job: tuple[Any, ...]) -> tuple[str, Any]:
    from variantforge.stages.train.smaller import is_out_of_memory

    try:
        _train(_context(pipe, job))
        return "done", None
    except VariantforgeError as error:
        return "failed", (time.time(), error)
    except BaseException as error:
        traceback.print_exc()
        if is_out_of_memory(error):
            return "memory", (time.time(), next(iter(str(error).splitlines()), ""))
        return "failed", (time.time(), _portable(error))


def _context(pipe: Connection, job: tuple[Any, ...]) -> StepContext:
    """The step's, for the first process of each machine. What others would write or tell goes nowhere."""
    step, inputs, out, scratch, label = job
    local_rank, asked = int(os.environ["LOCAL_RANK"]), False
    if local_rank > 0:
        remove_tree(place := Path(scratch) / f"unused-{local_rank}")
        out = make_folder(place)

    def stopping() -> bool:
        nonlocal asked
        asked = asked or pipe.poll()
        return asked

    def emit(event: dict[str, Any]) -> None:
        if local_rank == 0:
            pipe.send(("event", event))

    return StepContext(step, inputs, out, scratch, label, emit, stopping)


def _train(context: StepContext) -> None:
    import torch
    import torch.distributed as dist

    from variantforge.stages.models import quiet
    from variantforge.stages.train import METHODS
    from variantforge.stages.train.processes import ranks

    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(int(os.environ["LOCAL_RANK"]))
    with quiet():
        METHODS.load(context.step.method)().train(context)
    ranks.wait_for_all()  # the first one writes: nobody leaves before
    if dist.is_initialized():
        dist.destroy_process_group()


def _portable(error: BaseException) -> BaseException | tuple[str, str]:
    """An OSError as it is, for the disk may be full; of everything else, its words."""
    if f"os error {errno.ENOSPC}" in str(error):  # a library's own words for it
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if isinstance(error, OSError) and error.errno:
        return OSError(error.errno, error.strerror, error.filename)
    return f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)[-4:]).rstrip()


if __name__ == "__main__":
    main()
