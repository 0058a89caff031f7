"""Whether Linux killed a process because memory ran out: by the kernel's own counts, never by a guess.

Before its signal is sent, a kill is counted (mm/oom_kill.c, ``__oom_kill_process``; Linux 4.13 and newer): in the
memory control group of its victim and, as ``oom_kill`` in /proc/vmstat, for the whole machine. A group's count tells of
its own processes alone. The machine's moves with everybody's, those of other containers too: it is asked only where no
group can be read.

    v2  memory.events.local, memory.events    oom_kill 1
    v1  memory.oom_control                    oom_kill 1
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

APART_S = 30.0  # between two looks: a process of a terabyte takes seconds to die of the signal, and is counted before
_COUNT = "oom_kill"
# Kind of hierarchy -> its files. Memory is counted in one of v1 where there is one.
_FILES = {"cgroup": ("memory.oom_control",), "cgroup2": ("memory.events.local", "memory.events")}


@dataclass(frozen=True)
class Verdict:
    """``told``: a sentence for people, with the file and its counts."""

    killed: bool
    told: str


class OomKills:
    """What a kill of process ``pid`` would be counted in. To be made while it lives; ``look`` now and then while it
    does, since a kill that was counted long before its death was of somebody else.

    ``root``: where ``proc`` and ``sys`` lie.
    """

    def __init__(self, pid: int, root: Path = Path("/")) -> None:
        self._pid, self._root = pid, root
        self._before = self._later = self._counts()
        self._looked_at = time.monotonic()

    def look(self) -> None:
        """Cheap; call it as often as you like."""
        if time.monotonic() - self._looked_at >= APART_S:
            self._before, self._later = self._later, {**self._later, **self._counts()}
            self._looked_at = time.monotonic()

    def verdict(self) -> Verdict:
        """To be asked once the process has died of SIGKILL."""
        before = {**self._later, **self._before}
        now = {file: _count(file) for file in before}
        for file, count in before.items():
            if (found := now[file]) is not None and found > count:
                told = f"It was the kernel, for want of memory: {_COUNT} in {file} went from {count} to {found}."
                return Verdict(True, told)
        if not before:
            return Verdict(False, "Whether memory had run out cannot be told: the kernel's count cannot be read here.")
        file, count = next(iter(before.items()))
        return Verdict(False, f"It was not the kernel for want of memory: {_COUNT} in {file} stayed at {count}.")

    def _counts(self) -> Mapping[Path, int]:
        """File -> count, of the one that tells most surely."""
        for file in (*self._of_its_group(), self._root / "proc/vmstat"):
            if (count := _count(file)) is not None:
                return {file: count}
        return {}

    def _of_its_group(self) -> Iterator[Path]:
        """The files of the group that the memory of the process is counted in, as far as it can be seen from here."""
        groups, mounts = self._groups(), self._mounts()
        kind = next((kind for kind in _FILES if kind in groups and kind in mounts), None)
        if kind is None:
            return
        at, top = mounts[kind]
        try:
            below = PurePosixPath(groups[kind]).relative_to(top)
        except ValueError:  # a group that is not mounted here
            return
        folder = at / below
        # where a group of v2 has no memory controller, memory is counted in the nearest above that has one
        for one in (folder, *folder.parents) if kind == "cgroup2" else (folder,):
            yield from (one / name for name in _FILES[kind])
            if one == at:
                return

    def _groups(self) -> dict[str, str]:
        """Kind of hierarchy -> the group of the process (man 7 cgroups: /proc/pid/cgroup)."""
        found: dict[str, str] = {}
        for line in _lines(self._root / f"proc/{self._pid}/cgroup"):
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if "memory" in controllers.split(","):
                found["cgroup"] = path
            elif number == "0":
                found["cgroup2"] = path
        return found

    def _mounts(self) -> dict[str, tuple[Path, str]]:
        """Kind -> where the hierarchy that counts memory is mounted, and which of its groups stands there
        (man 5 proc: /proc/pid/mountinfo)."""
        found: dict[str, tuple[Path, str]] = {}
        for line in _lines(self._root / "proc/self/mountinfo"):
            where, _, what = line.partition(" - ")
            match where.split(), what.split():
                case [_, _, _, top, at, *_], ["cgroup2" as kind, *_]:
                    found[kind] = (self._root / at.lstrip("/"), top)
                case [_, _, _, top, at, *_], ["cgroup" as kind, _, options] if "memory" in options.split(","):
                    found[kind] = (self._root / at.lstrip("/"), top)
        return found


def _count(file: Path) -> int | None:
    """None where the file, or the count in it, is not there."""
    words = (line.split() for line in _lines(file))
    return next((int(pair[1]) for pair in words if len(pair) == 2 and pair[0] == _COUNT and pair[1].isdigit()), None)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []
