"""One run as columns, and the machine it was made on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_WORDS = (
    "The parser reads one line, returns a node and waits for the next. Each request opens a connection, sends its "
    "headers, and is answered in its turn. A mapping keeps its keys in the order of insertion; errors that nobody "
    "catches end the program. "
)


@dataclass(frozen=True)
class Run:
    """``first_token_s``: from the prompt to the first token; ``rest_s``: from there to the last of ``tokens``."""

    prompt_tokens: int
    tokens: int
    first_token_s: float
    rest_s: float

    @property
    def columns(self) -> dict[str, Any]:
        return {
            "runs": 1,
            "prompt_tokens": self.prompt_tokens,
            "first_token_s": round(self.first_token_s, 6),
            "rest_tokens": self.tokens - 1,
            "rest_s": round(self.rest_s, 6),
        }


class Runtime(Protocol):
    """A loaded subject. ``version``: of what runs it."""

    version: str
    load_s: float

    def run(self, prompt_tokens: int, tokens: int) -> Run:
        """One prompt, and exactly so many tokens after it, whatever they are. Raises EvaluateError."""

    def peak_bytes(self) -> int | None:
        """The most memory that it has held so far: the accelerator's where there is one, else the process's. None where
        the system does not tell."""


def words(count: int) -> str:
    """A text of at least ``count`` tokens."""
    return _WORDS * (count // 20 + 1)


def machine() -> dict[str, Any]:
    """What figures of speed hang on: they mean nothing elsewhere."""
    told = {"system": platform.system(), "processor": _processor(), "cores": len(os.sched_getaffinity(0))}
    return told | ({"accelerator": name} if (name := _accelerator()) else {})


def resident_peak(pid: int | str = "self") -> int | None:
    """The most memory that a process has held, in bytes, since it began or ``forget_peak`` was called."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # no Linux
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def forget_peak() -> bool:
    """From here on this process's peak is counted anew (man 5 proc, clear_refs); whether the system let us."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _processor() -> str:
    return next(_named_in_cpuinfo(), "") or platform.machine()


def _named_in_cpuinfo() -> Iterator[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                yield line.partition(":")[2].strip()
    except OSError:
        return


def _accelerator() -> str:
    from variantforge.stages.models import device

    where = device()
    if where.type == "cpu":
        return ""
    if where.type == "cuda":
        import torch

        return str(torch.cuda.get_device_name(where))
    return str(where.type)
