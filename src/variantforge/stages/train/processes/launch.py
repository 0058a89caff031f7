"""The step's own process: it starts the workers, passes on what they tell, asks them to stop, and leaves none behind.

Each worker is a fresh interpreter, told by the environment variables of torchrun who it is; accelerate reads them. The
store over which they find each other is held here, on a port that the system chose, so no two trainings can collide.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from variantforge import redact
from variantforge.errors import KilledForMemory, TrainError, VariantforgeError, WorkerDied
from variantforge.fsops import make_folder
from variantforge.stages.oom_kills import OomKills
from variantforge.stages.train.processes.layout import ALONE, Layout
from variantforge.step import StepContext

WORKER = (sys.executable, "-P", "-m", "variantforge.stages.train.processes.worker")
SETTLE_S = 3.0  # when one has failed, how long the others may take to tell what they saw: the cause may be theirs
_LAST_LINES = 10


@dataclass
class Worker:
    rank: int
    process: subprocess.Popen[bytes]
    pipe: Connection
    output: Path
    kills: OomKills

    def last_words(self) -> str:
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return "\n".join(text.splitlines()[-_LAST_LINES:])

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.pipe.close()


@dataclass(frozen=True)
class End:
    """How a worker ended. ``kind``: done, memory, named, died, unexpected."""

    kind: str
    error: BaseException | None = None
    at: float = 0.0


# What is told when several have failed: one's failure makes others fail that wait for it.
_CAUSES = ("memory", "named", "died", "unexpected")


def train_together(context: StepContext, layout: Layout) -> None:
    """Does the step in ``layout.processes`` workers. Raises what a worker raised, MemoryError when memory did not
    suffice for one, WorkerDied when one ended without a word."""
    _enough_devices(layout)
    with _store(layout) as port:
        workers: list[Worker] = []
        try:
            for local_rank in range(layout.here):
                workers.append(_start(context, layout, local_rank, port))
            ends = _attend(context, workers)
        finally:
            for worker in workers:
                worker.end()
    failures = [end for end in ends.values() if end.error is not None]
    if failures:
        raise min(failures, key=lambda end: (_CAUSES.index(end.kind), end.at)).error or AssertionError


def _enough_devices(layout: Layout) -> None:
    import torch

    if torch.accelerator.is_available() and layout.here > (there := torch.accelerator.device_count()):
        raise TrainError(
            f"{layout.here} processes are asked for, and this machine has {there} device{'s' * (there != 1)}",
            next=f"set resources: {{processes: {there * layout.machines}}}",
        )


@contextlib.contextmanager
def _store(layout: Layout) -> Iterator[int]:
    """Where the workers find each other: held by the first machine for as long as they live. Yields its port."""
    from torch.distributed import TCPStore

    if layout.machine_rank > 0:
        yield layout.main_process_port or 0
        return
    host = layout.main_process_ip or ALONE
    with socket.create_server((host, layout.main_process_port or 0)) as listening:
        port = listening.getsockname()[1]
        descriptor = os.dup(listening.fileno())
        store = TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=descriptor)
        yield port
        del store


def _start(context: StepContext, layout: Layout, local_rank: int, port: int) -> Worker:
    ours, theirs = Pipe(duplex=True)
    told = layout.environment(local_rank, port)
    output = make_folder(context.scratch) / f"worker-{told['RANK']}.txt"
    # only the first process reports to trackers and the Hub
    environment = dict(os.environ) if told["RANK"] == "0" else redact.without_secrets(os.environ)
    environment |= told
    environment.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // layout.here)))
    if layout.machines == 1 and sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [*WORKER, str(theirs.fileno()), str(os.getpid())],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            pass_fds=[theirs.fileno()],
        )
    theirs.close()
    with contextlib.suppress(OSError):  # one that is dead already is told of below
        ours.send((context.step, dict(context.inputs), context.out, context.scratch, context.label))
    return Worker(int(told["RANK"]), process, ours, output, OomKills(process.pid))


def _attend(context: StepContext, workers: list[Worker]) -> dict[int, End]:
    """Passes on progress and notes until all have ended, or one has failed and the others had time to say why."""
    ends: dict[int, End] = {}
    asked, failed_at = False, None
    while len(ends) < len(workers):
        if not asked and context.stopping():
            asked = True
            for worker in workers:
                with contextlib.suppress(OSError):
                    worker.pipe.send("stop")
        living = [worker for worker in workers if worker.rank not in ends]
        ready = wait([worker.pipe for worker in living], timeout=0.2)
        for worker in living:
            worker.kills.look()
            if worker.pipe in ready:
                if end := _hear(context, worker, len(workers)):
                    ends[worker.rank] = end
            elif worker.process.poll() is not None and not worker.pipe.poll():
                ends[worker.rank] = _died(worker, len(workers))
        if any(end.error for end in ends.values()):
            failed_at = failed_at or time.monotonic()
            if time.monotonic() - failed_at > SETTLE_S:
                break
    return ends


def _hear(context: StepContext, worker: Worker, count: int) -> End | None:
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        return _died(worker, count)
    if kind == "event":
        context.emit(value)
        return None
    if kind == "done":
        return End("done")
    told_at, value = value
    if kind == "memory":
        return End(kind, MemoryError(value), told_at)
    if isinstance(value, VariantforgeError | OSError):
        return End("named", value, told_at)
    what, why = value
    return End("unexpected", WorkerDied(f"process {worker.rank} failed: {what}", why=why), told_at)


def _died(worker: Worker, count: int) -> End:
    with contextlib.suppress(subprocess.TimeoutExpired):
        worker.process.wait(SETTLE_S)
    code = worker.process.poll()
    how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
    told = ""
    if code == -signal.SIGKILL:
        verdict = worker.kills.verdict()
        if verdict.killed:
            killed = KilledForMemory(f"process {worker.rank} of a training by {count} was killed", why=verdict.told)
            return End("memory", killed, time.time())
        told = f"{verdict.told} "
    words = worker.last_words()
    error = WorkerDied(
        f"process {worker.rank} of a training by {count} ended without a result ({how})",
        why=told + (f"Its last words:\n{words}" if words else "It had printed nothing."),
        next="the same command goes on from the last checkpoint",
    )
    return End("died", error, time.time())
