"""Twelve live probes of the sandbox: does this machine really hold what the command line asks for?

Each tries what must not work, against something real that stands outside for it: a port that listens, a file that
everybody can read, a variable in the environment. One that works, or cannot be tried, is a finding; then no generated
code is run on this machine. There is no second-best sandbox.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from variantforge.sandbox import bubblewrap
from variantforge.sandbox.box import Box, Ended
from variantforge.sandbox.judge import run_python
from variantforge.sandbox.limits import Limits

_LIMITS = Limits(seconds=20.0, memory_mb=256, tasks=8, folder_mb=4, file_mb=2, files=32)
_IMPATIENT = Limits(seconds=0.7)
_STUBBORN = """
import signal
for number in {*range(1, 32)} - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
while True: pass
"""
_SECRET = "VARIANTFORGE_PROBE_TOKEN"


@dataclass(frozen=True)
class Probe:
    """``found`` is '' where the wall held, else what went through it."""

    name: str
    found: str = ""


def require() -> None:
    """Raises SandboxMissing when a probe does not hold: no generated code is run."""
    broken = [f"{probe.name}: {probe.found}" for probe in try_probes() if probe.found]
    if broken:
        raise bubblewrap.missing("\n".join(broken), "vf doctor    (tells what each of them means here)")


@cache
def try_probes() -> tuple[Probe, ...]:
    """All twelve, tried once in a process. Raises SandboxMissing when no sandbox starts at all, with what helps."""
    bubblewrap.program()
    bubblewrap.python()
    _starts()
    with tempfile.TemporaryDirectory() as folder, _outside(Path(folder)) as places:
        names = list(_PAYLOADS)
        results = run_python(_program(), [(name, [places]) for name in names], _LIMITS)
    found = [Probe(_PAYLOADS[name], _words(result)) for name, result in zip(names, results, strict=True)]
    return (*found, Probe("a run ends in time, with all its processes", _ends_in_time()))


def _program() -> str:
    text = Path(__file__).with_name("attempts.py").read_text()
    return f"EXPECTED = { ({*bubblewrap.ENVIRONMENT, 'PWD', 'LC_CTYPE'})!r}\n{text}"


def _words(result: object) -> str:
    if isinstance(result, str):
        return result
    return f"could not be tried ({result})"


def version() -> str:
    """What bwrap says it is: "bubblewrap 0.8.0". Raises SandboxMissing."""
    return subprocess.run([bubblewrap.program(), "--version"], capture_output=True, text=True).stdout.strip()


def _starts() -> None:
    """One run that does nothing. Raises SandboxMissing with what bubblewrap says, and what usually helps."""
    with Box("candidate", _LIMITS) as box:
        try:
            box.ask("program", "")
        except Ended as end:
            raise bubblewrap.does_not_start(box.complaint or str(end)) from None


@contextlib.contextmanager
def _outside(folder: Path) -> Iterator[dict[str, object]]:
    """Things outside that nothing inside may reach."""
    canary = folder / "canary"
    canary.write_text("outside")
    canary.chmod(0o644)
    folder.chmod(0o755)
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        name = f"variantforge-probe-{os.getpid()}"
        unix.bind(f"\0{name}")
        unix.listen()
        os.environ[_SECRET] = "outside"
        try:
            yield {"port": tcp.getsockname()[1], "abstract": name, "canary": str(canary), "pid": os.getpid()}
        finally:
            del os.environ[_SECRET]


def _ends_in_time() -> str:
    began = time.monotonic()
    try:
        with Box("candidate", _IMPATIENT) as box:
            box.ask("program", _STUBBORN)
        return "it ended by itself"
    except Ended as end:
        if str(end) != "timeout":
            return f"could not be tried ({end})"
    except OSError as error:
        return str(error)
    late = time.monotonic() - began - _IMPATIENT.seconds
    return f"it took {late:.1f} s longer" if late > 5 else ""


_PAYLOADS = {
    "network": "no network",
    "sockets": "no sockets of the host",
    "environment": "an empty environment",
    "files": "no files of the host",
    "writing": "a read-only system",
    "user": "a user without rights",
    "calls": "refused system calls",
    "namespaces": "no new namespaces",
    "processes": "no processes of the host, and few inside",
    "memory": "bounded memory",
    "disk": "bounded files",
}
