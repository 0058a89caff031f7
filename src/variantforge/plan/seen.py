"""What planning looked at outside the family file: the law by which a remembered plan may be believed.

A plan is a function of the family file, of the code, and of what ``Seen`` holds. So whatever reads the disk while
planning says so, *before* it reads: a plan that looked at something in silence could be remembered and be wrong.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

SETTLED_NS = 50_000_000  # what changed within the last 50 ms may change again without its times moving
_CODE_SETTLED_NS = 10_000_000_000  # code was read before anything here was: its files must be older than the process

Stamp = tuple[int, int, int, int, int]


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """Size, times and identity of a file or folder: equal stamps, equal bytes (a folder: equal names in it)."""
    stat = os.stat(path)  # noqa: PTH116  asked thousands of times: texts, not paths
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)


class Seen:
    """``stamps``: absolute path -> its stamp when it was first looked at, None when nothing was there.

    ``lasting`` turns false when something was asked that cannot be asked again by looking: the Hub.
    """

    def __init__(self) -> None:
        self.stamps: dict[str, Stamp | None] = {}
        self._looked_at: set[str] = set()  # as it was asked: one folder is asked about for each variant
        self.lasting = True
        self._began = time.time_ns()
        for entry in installed_in():
            self.look(entry)

    def look(self, path: str | os.PathLike[str]) -> None:
        """Notes how a path is now: of a folder, which names are in it; not how those are."""
        if (asked := os.fspath(path)) in self._looked_at:
            return
        self._looked_at.add(asked)
        text = os.path.abspath(asked)  # noqa: PTH100  links are kept: what they mean is in the stamp
        if text not in self.stamps:
            self.stamps[text] = _stamp_or_none(text)

    def look_into(self, folder: str | os.PathLike[str]) -> None:
        """Notes a folder and everything directly in it."""
        self.look(folder)
        with contextlib.suppress(OSError):
            for path in Path(folder).iterdir():
                self.look(path)

    @property
    def settled(self) -> bool:
        """Whether nothing looked at has changed since shortly before planning began."""
        limit = self._began - SETTLED_NS
        return all(found is None or max(found[1], found[2]) < limit for found in self.stamps.values())

    def code(self) -> dict[str, Stamp | None] | None:
        """Stamps of all Python files this process has loaded; None when one is so new that it may not be what ran."""
        files = {str(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
        stamps = {file: _stamp_or_none(file) for file in sorted(files)}
        limit = self._began - _CODE_SETTLED_NS
        return None if any(found and max(found[1], found[2]) > limit for found in stamps.values()) else stamps


def installed_in() -> list[str]:
    """The folders where Python finds packages and plug-ins; the one that people work in is not among them."""
    return [entry for entry in sys.path if entry and entry != os.getcwd()]  # noqa: PTH109


def unchanged(stamps: Mapping[str, Iterable[int] | None]) -> bool:
    """Whether everything is as it was when it was looked at."""
    return all(_stamp_or_none(path) == (None if old is None else tuple(old)) for path, old in stamps.items())


def _stamp_or_none(path: str) -> Stamp | None:
    try:
        return stamp(path)
    except OSError:
        return None
