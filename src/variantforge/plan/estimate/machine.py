"""What this machine computes with and how much memory it has, without importing torch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

_CARDS = Path("/proc/driver/nvidia/gpus")
_ASKING_S = 10.0


@dataclass(frozen=True)
class Machine:
    """``device``: cpu or cuda. ``memory_bytes``: what a training could take now; None where that is not known."""

    device: str
    bf16: bool
    memory_bytes: int | None


@cache
def this_machine() -> Machine:
    if _has_card():
        return Machine("cuda", True, _card_bytes())
    return Machine("cpu", _cpu_has_bf16(), available_bytes())


def _has_card() -> bool:
    try:
        cards = any(_CARDS.iterdir())
        return cards and not metadata.version("torch").endswith("+cpu")
    except (OSError, metadata.PackageNotFoundError):
        return False


def _card_bytes() -> int | None:
    """The memory of the first card, from the driver's own tool."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_ASKING_S, check=True).stdout
        return int(told.split()[0]) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _cpu_has_bf16() -> bool:
    """As torch decides it (``torch.cpu._is_avx512_bf16_supported``, ``_is_amx_tile_supported``)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return bool(flags & {"avx512_bf16", "amx_tile"})


def available_bytes() -> int | None:
    """What the system says is available, or what is left of this group's limit."""
    found = [size for size in (_available(), *_left_of_limits()) if size is not None]
    return min(found, default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None


def _left_of_limits() -> Iterator[int]:
    """Of the control group (v2) that this process is in; file pages in use can be given back, and do not count."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield int(limit) - used + int(stat["inactive_file"]) + int(stat["active_file"])
    except (OSError, ValueError, KeyError):
        return


def cores() -> int:
    return os.cpu_count() or 1
