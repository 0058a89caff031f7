"""A control group of its own with a memory limit, for processes that the kernel is to kill in earnest.

Whatever is started in it cannot take more than its limit, and the kernel looks for a victim among its processes alone.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

MB = 1 << 20


@contextmanager
def limited(size_bytes: int) -> Iterator[Path]:
    """The group's folder. Skips the test, with the reason, where none can be made; changes nothing else."""
    folder = _place() / f"variantforge-test-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        _limit(folder, size_bytes)
        yield folder
    finally:
        _remove(folder)


def _place() -> Path:
    """Where groups that count memory are made: at the top of the hierarchy that is mounted here."""
    mounts = Path("/proc/self/mountinfo")
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        where, _, what = line.partition(" - ")
        kind, *_, options = what.split() or [""]
        at = Path(where.split()[4])
        if kind == "cgroup" and "memory" in options.split(","):
            return at
        if kind == "cgroup2" and "memory" in (at / "cgroup.subtree_control").read_text().split():
            return at
    pytest.skip("no hierarchy of control groups that limit memory is mounted here")


def _limit(folder: Path, size_bytes: int) -> None:
    of_v1 = {"memory.limit_in_bytes": size_bytes, "memory.memsw.limit_in_bytes": size_bytes}
    of_v2 = {"memory.max": size_bytes, "memory.swap.max": 0}
    limits = of_v2 if (folder / "memory.max").exists() else of_v1
    try:
        for name, value in limits.items():
            if (folder / name).exists():  # without swap there is no limit of it
                (folder / name).write_text(str(value))
        assert int((folder / next(iter(limits))).read_text()) == size_bytes
    except (OSError, AssertionError) as error:
        pytest.skip(f"a control group takes no memory limit here: {error}")


def _remove(folder: Path) -> None:
    for _ in range(300):  # until the last of its processes is gone
        with suppress(OSError):
            folder.rmdir()
            return
        with suppress(OSError):
            for process in (folder / "cgroup.procs").read_text().split():
                os.kill(int(process), signal.SIGKILL)
        time.sleep(0.1)


def run_inside(folder: Path, script: str, *arguments: object) -> str:
    """What a script of Python prints, started in the group; its children are born there."""
    enter = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(folder)]
    done = subprocess.run(
        [*enter, sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
