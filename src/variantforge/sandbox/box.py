"""One run: a bubblewrap with one Python in it, asked line by line until its time is over.

The parent believes nothing that comes out: every reply carries the nonce of its request, lines and streams are bounded,
and the end is made by the parent, which kills the first process of the sandbox's process namespace; the kernel then
kills whatever is left in it, and ``close`` returns when it has.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from variantforge.sandbox import bubblewrap, seccomp
from variantforge.sandbox.limits import Limits
from variantforge.sandbox.values import NotAValue, decode_line

_CHUNK = 65536
TIMEOUT, DIED = "timeout", "died"
_KILL_S = 10.0  # a killed namespace that lives on for longer is a broken kernel


class Ended(Exception):
    """The run is over before it answered; the text is the reason in a word or two ("timeout")."""


class Box:
    """A started sandbox whose Python plays ``role``, a function of ``inside``. Close it, or use it in a ``with``.

    ``deadline`` (of time.monotonic) is shared where two boxes make one run. Raises SandboxMissing.
    """

    def __init__(self, role: str, limits: Limits, *, stdin: bytes = b"", deadline: float | None = None) -> None:
        self.limits, self.deadline = limits, deadline or time.monotonic() + limits.seconds
        self._selector = selectors.DefaultSelector()
        self._process, self._requests, self._replies, self._info = _start(role, limits, stdin)
        self._greeted = False
        os.set_blocking(self._requests, False)
        self._ending = os.pidfd_open(self._process.pid)
        assert self._process.stdout
        assert self._process.stderr
        self._stdout, self._stderr = self._process.stdout.fileno(), self._process.stderr.fileno()
        self._taken = {descriptor: bytearray() for descriptor in (self._replies, self._stdout, self._stderr)}
        for descriptor in (*self._taken, self._ending):
            self._selector.register(descriptor, selectors.EVENT_READ)

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- talking ------------------------------------------------------------------------------------------------

    def ask(self, *request: Any) -> dict[str, Any]:
        """Sends a request and returns its reply, a JSON object. Raises Ended."""
        nonce = secrets.token_hex(16)
        self.send(nonce, *request)
        reply = self.receive()
        if reply.get("nonce") != nonce:
            raise Ended("forged reply")
        return reply

    def send(self, *request: Any) -> None:
        """Writes one request, as a Python literal on a line. Raises Ended."""
        data = memoryview(repr(request).encode() + b"\n")
        while data:
            try:
                data = data[os.write(self._requests, data) :]
            except BlockingIOError:
                with self._writable():
                    self._pump()
            except BrokenPipeError:
                self.finish()  # its last words
                raise self._death() from None

    def receive(self) -> dict[str, Any]:
        """The next line that comes out. Raises Ended; SandboxMissing when it never began."""
        if not self._greeted:
            self._line()
            self._greeted = True
        line = self._line()
        if len(line) > self.limits.reply_kb * 1000:
            raise Ended("too large a result")
        try:
            return decode_line(line)
        except NotAValue:
            raise Ended("forged reply") from None

    def _line(self) -> bytes:
        taken = self._taken[self._replies]
        while (end := taken.find(b"\n")) < 0:
            if not self._pump() and b"\n" not in taken:  # a short run may end before its reply is read
                raise self._death()
        line = bytes(taken[:end])
        del taken[: end + 1]
        return line

    def _death(self) -> Ended:
        """Why nothing comes any more. One that ends before its greeting, so before there was any generated code in it,
        is no verdict on that code: raises SandboxMissing."""
        if self._greeted or self._taken[self._replies]:
            return Ended(DIED)
        raise bubblewrap.does_not_start(self.complaint)

    def finish(self) -> tuple[int, bytes]:
        """Waits for the end: (exit status, standard output). Raises Ended."""
        while self._pump():
            pass
        return self._process.wait(), bytes(self._taken[self._stdout])

    @property
    def complaint(self) -> str:
        """The last line of standard error so far: what bubblewrap or Python said of a bad end."""
        lines = self._taken[self._stderr].decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    # --- bytes --------------------------------------------------------------------------------------------------

    def _pump(self) -> bool:
        """Takes in what has come out, waiting for it; False when the run has ended. Raises Ended."""
        left = self.deadline - time.monotonic()
        events = self._selector.select(left) if left > 0 else []
        if not events:
            raise Ended(TIMEOUT)
        ready = {key.fd for key, _ in events}
        for descriptor in ready & self._taken.keys():
            self._take(descriptor)
        if self._ending not in ready:
            return True
        for descriptor in self._taken:  # its last words
            while self._take(descriptor):
                pass
        return False

    def _take(self, descriptor: int) -> bool:
        """Reads a chunk, if there is one."""
        os.set_blocking(descriptor, False)
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            with contextlib.suppress(KeyError):
                self._selector.unregister(descriptor)
            return False
        self._taken[descriptor] += chunk
        if len(self._taken[descriptor]) > self.limits.output_kb * 1000:
            raise Ended("too much output")
        return True

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        self._selector.register(self._requests, selectors.EVENT_WRITE)
        try:
            yield
        finally:
            self._selector.unregister(self._requests)

    # --- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Kills all that is left and returns when the kernel has done it. Raises OSError when it does not."""
        _kill(self._process, _process_one(self._info))
        for descriptor in (self._requests, self._replies, self._info, self._ending):
            os.close(descriptor)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream
            stream.close()
        self._selector.close()


def _start(role: str, limits: Limits, stdin: bytes) -> tuple[subprocess.Popen[bytes], int, int, int]:
    """The process, and our ends of its requests, replies and info."""
    requests, ours = os.pipe()
    replies, theirs = os.pipe()
    info, told = os.pipe()
    passed = [requests, theirs, told, _holding(seccomp.program(forks=limits.forks)), _holding(stdin)]
    try:
        process = subprocess.Popen(
            _command(role, limits, *passed[:4]),
            stdin=passed[4],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=passed[:4],
            cwd="/",
            env={},
            start_new_session=True,
        )
    except BaseException:
        for descriptor in (ours, replies, info):
            os.close(descriptor)
        raise
    finally:
        for descriptor in passed:
            os.close(descriptor)
    return process, ours, replies, info


def _command(role: str, limits: Limits, requests: int, replies: int, info: int, filter_: int) -> list[str]:
    filled = {"{seccomp}": str(filter_), "{info}": str(info)}
    words = bubblewrap.command(limits, _code(role, limits))
    return [*(filled.get(word, word) for word in words), str(requests), str(replies)]


@cache
def _code(role: str, limits: Limits) -> str:
    """The text of ``inside`` and the lines that start it; descriptors come as arguments, and are not left there."""
    text = Path(__file__).with_name("inside.py").read_text()
    start = f"(_, reads, writes), sys.argv = sys.argv, ['']\n{role}(*channel(int(reads), int(writes)))\n"
    return f"{text}\nbound({bubblewrap.rlimits(limits)!r})\n{start}"


def _holding(data: bytes) -> int:
    """A descriptor to read ``data`` from."""
    descriptor = os.memfd_create("sandbox")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _process_one(info: int) -> int | None:
    """A pidfd of the first process inside, as bubblewrap tells it; None when it never came so far, or is gone."""
    told = b""
    with selectors.DefaultSelector() as selector:
        selector.register(info, selectors.EVENT_READ)
        while not told.rstrip().endswith(b"}"):  # it is written in pieces, and a box may be closed before the last
            piece = os.read(info, _CHUNK) if selector.select(_KILL_S) else b""
            if not piece:
                return None
            told += piece
    try:
        return os.pidfd_open(int(json.loads(told)["child-pid"]))
    except (OSError, ValueError, KeyError):
        return None


def _kill(bwrap: subprocess.Popen[bytes], first: int | None) -> None:
    """Ends process 1 inside, and with it all others; bubblewrap waits for it, and ends when it is gone."""
    if first is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(first, signal.SIGKILL)
        os.close(first)
    try:
        bwrap.wait(_KILL_S)
    except subprocess.TimeoutExpired:
        bwrap.kill()
        raise OSError("a killed sandbox lives on") from None
