"""Runs a step in a process of its own, so that its memory is given back when it is done.

Starting Python with torch, transformers, peft and trl takes seconds; a *fork server* imports them once and every
step is a fork of it. It starts while light steps run. A step's process dies with its parent, whatever happens:
no orphan goes on writing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from variantforge import redact
from variantforge.errors import Interrupted, KilledForMemory, StepError, VariantforgeError
from variantforge.fsops import remove_tree
from variantforge.run.executor import Job, Waits
from variantforge.stages import stage
from variantforge.stages.oom_kills import OomKills
from variantforge.stages.stage import Shrinking
from variantforge.step import StepContext

# Imported once by the fork server. Importing starts no threads and no device, so that forking stays safe.
PRELOAD = ("variantforge.run.heavy", "variantforge.cli.app")
# On a machine that does anything else beside, threads that spin while they wait take the core from the thread they
# wait for: one forward pass of a 135M model was 2 to 5 times slower on two shared cores. Set only where you did not.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
GRACE_S = 10.0  # what a step gets to save its work after a stop was asked for
OUTPUT = "output.txt"  # in a step's scratch folder: what libraries printed
_PR_SET_PDEATHSIG = 1
_SCORE = 500  # thousandths of all memory that a step seems to hold more when the kernel looks for a victim
_TO_THE_GROUP = (signal.SIGTERM, signal.SIGHUP)  # signals that a terminal or a CI sends to all processes at once

Emit = Callable[[dict[str, Any]], None]
Failure = BaseException | None


class Isolated:
    """A fork of the fork server for each step. One server serves a process, with the first ``preload`` it was given."""

    def __init__(self, preload: Sequence[str] = PRELOAD) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))

    def warm_up(self) -> None:
        """Starts the fork server, without waiting for its imports."""
        from multiprocessing import forkserver, resource_tracker

        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        for start in (resource_tracker.ensure_running, forkserver.ensure_running):
            with without_secrets(), deaf_to_signals():  # for each: the first lets SIGTERM through when it is done
                start()

    def run(self, job: Job, emit: Emit, stopping: Callable[[], bool]) -> Generator[Waits, None, None]:
        """A step that the kernel kills for its memory is done again in less, where its stage knows how."""
        while failure := (yield from self._try(job, emit, stopping)):
            if not isinstance(failure, KilledForMemory):
                raise failure
            _shrink(job, failure, emit)

    def _try(self, job: Job, emit: Emit, stopping: Callable[[], bool]) -> Generator[Waits, None, Failure]:
        self.warm_up()
        ours, theirs = self._context.Pipe(duplex=True)
        process = self._context.Process(target=_child, args=(job, theirs, os.getpid(), tokens_for(job)), daemon=True)
        process.start()
        theirs.close()
        try:
            failure = yield from self._attend(job, process, ours, emit, stopping)
        finally:
            if process.is_alive():
                process.kill()
            process.join()
            ours.close()
        return failure

    def _attend(
        self, job: Job, process: Any, pipe: Any, emit: Emit, stopping: Callable[[], bool]
    ) -> Generator[Waits, None, Failure]:
        """Passes events on until the step ends; asks it to stop, once, when the user does, and then waits no longer
        than ``GRACE_S``."""
        asked_at: float | None = None
        kills = OomKills(process.pid)
        while True:
            kills.look()
            if asked_at is None and stopping():
                asked_at = time.monotonic()
                pipe.send("stop")
            yield (pipe, process.sentinel)
            if not multiprocessing.connection.wait([pipe, process.sentinel], timeout=0):
                if asked_at is not None and time.monotonic() - asked_at > GRACE_S:
                    return Interrupted("stopped before the step was done")
                continue
            try:
                kind, value = pipe.recv()
            except (EOFError, OSError):
                process.join()
                return _died(process.exitcode, asked_at is not None, job.scratch / OUTPUT, kills)
            if kind == "event":
                emit(value)
            else:
                process.join(GRACE_S)
                return value if kind == "failed" else None

    def close(self) -> None:
        pass


def tokens_for(job: Job) -> dict[str, str]:
    """Credentials that a step needs: only one that reads from the Hub, or reports to a tracker, gets any.

    A Trusted Publisher's token is for the repo it publishes to: bases and datasets are read with HF_TOKEN or the login.
    """
    from variantforge.stages.data.teacher.planning import key_for
    from variantforge.stages.train.tracking import secrets_for, writes_to_hub

    secrets = {**secrets_for(job.step), **key_for(job.step)}
    if not (any(pin.at.startswith("hub:") for pin in job.step.pins.values()) or writes_to_hub(job.step)):
        return secrets
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if not token and not os.environ.get("HF_OIDC_RESOURCE"):
        from huggingface_hub import get_token  # the stored login, renewed where it has to be

        token = get_token()
    return {**secrets, "HF_TOKEN": token} if token else secrets


@contextlib.contextmanager
def without_secrets() -> Iterator[None]:
    """Takes everything that looks like a credential out of the environment while a child is started."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(redact.without_secrets(before))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def deaf_to_signals() -> Iterator[None]:
    """What is started inside is born with SIGTERM and SIGHUP blocked: they reach a whole process group, and only the
    parent shall hear them and ask its step to save and stop. The parent loses none: they wait, or another thread of
    it takes them."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_THE_GROUP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _died(code: int | None, asked: bool, output: Path, kills: OomKills) -> VariantforgeError:
    if asked:
        return Interrupted("stopped before the step was done")
    if code == -signal.SIGKILL:
        return _killed(kills)
    last_words = output.read_text(errors="replace").splitlines()[-10:] if output.exists() else []
    return StepError(f"the step's process ended without a result (exit code {code})", why="\n".join(last_words))


def _killed(kills: OomKills) -> VariantforgeError:
    verdict = kills.verdict()
    if verdict.killed:
        return KilledForMemory(
            "the step's process was killed, since memory had run out",
            why=verdict.told,
            next="give it more memory (another machine, a higher limit of the container, fewer steps or programs "
            "beside it), then run the same command again",
        )
    return StepError(
        "the step's process was killed from outside (SIGKILL)",
        why=verdict.told,
        next="run the same command again: it goes on from what was kept",
    )


def _shrink(job: Job, killed: KilledForMemory, emit: Emit) -> None:
    """Has the next try need less memory. Raises ``killed`` where its stage knows no way, and what the stage raises."""
    its_stage = stage(job.step.stage)
    if not isinstance(its_stage, Shrinking):
        raise killed
    context = StepContext(job.step, job.inputs, job.out, job.scratch, job.label, emit)
    context.note(f"{killed.what}. {killed.why}")
    its_stage.shrink(context, killed.why)
    for left in job.out.iterdir():
        remove_tree(left)


def _child(job: Job, pipe: Any, parent: int, tokens: dict[str, str]) -> None:
    """In the fork: die with the parent, do the job, send what happened."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _go_first()
    for number in (signal.SIGINT, *_TO_THE_GROUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_THE_GROUP)  # programs that the step starts can be stopped by them
    os.environ.update(tokens)
    for token in tokens.values():
        redact.learn(token)
    redact.hush_logs()
    _keep_output(job.scratch / OUTPUT)
    asked = False

    def stopping() -> bool:
        nonlocal asked
        asked = asked or pipe.poll()
        return asked

    def emit(event: dict[str, Any]) -> None:
        pipe.send(("event", event))

    try:
        job.do(emit, stopping)
        outcome: tuple[str, Any] = ("done", None)
    except VariantforgeError as error:
        outcome = ("failed", error)
    except OSError as error:
        outcome = ("failed", _portable(error))
    except BaseException as error:
        outcome = ("failed", unexpected(error))
    with contextlib.suppress(OSError):
        pipe.send(outcome)
    sys.stdout.flush()
    os._exit(0)


def _go_first() -> None:
    """When memory runs out, the kernel shall rather take a step, which goes on afterwards, than its parent or a
    neighbour (man 5 proc: /proc/pid/oom_score_adj)."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as file:
        wanted = min(int(file.read()) + _SCORE, 1000)
        file.seek(0)
        file.write(str(wanted))


def _keep_output(path: Path) -> None:
    """Whatever libraries print goes to a file: what a user should read comes as events and errors."""
    with open(path, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)


def _portable(error: OSError) -> BaseException:
    return OSError(error.errno, error.strerror, error.filename) if error.errno else unexpected(error)


def unexpected(error: BaseException) -> StepError | OSError:
    """A failure nobody named: told with its last lines, since it is our bug or a library's.

    A full disk that a library tells in words of its own (safetensors does) becomes the OSError that it is.
    """
    if f"os error {errno.ENOSPC}" in str(error):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = traceback.format_exception(error)
    return StepError(
        f"{type(error).__name__}: {error}",
        why="".join(lines[-4:]).rstrip(),
        next="please report it with the lines above: https://github.com/variantforge/variantforge/issues",
    )
