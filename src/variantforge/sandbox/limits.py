"""What a run of generated code may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one run; each is held by the kernel or by the parent, never by the code itself.

    ``memory_mb`` is address space, so Python itself takes some 20 of it. Without ``forks`` there is one process, and
    the bound holds for the run; with them it holds for each of at most ``tasks`` processes and threads.
    """

    seconds: float = 10.0  # wall time of the whole run, start included
    memory_mb: int = 512
    tasks: int = 16  # threads, and processes where forks are allowed
    forks: bool = False
    folder_mb: int = 16  # everything written to /tmp, the only folder that can be written
    file_mb: int = 8
    files: int = 64  # open at a time
    output_kb: int = 1024  # stdout, stderr and replies, each
    reply_kb: int = 64  # one result


DEFAULT = Limits()
