"""The release before this one, found in the folder that keeps what releases measured of every item:

    <root>/<version>/<variant>.<evaluation>.<subject>.jsonl

Beside a folder published into, that is ``evaluations/``; of a family on the Hub, what was fetched of its index repo.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from variantforge.stages.stage import Released
from variantforge.step import Pin

_PARTS = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z_.-]+))?")

Order = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


def version_order(version: str) -> Order:
    """The precedence of Semantic Versioning 2: ``1.2.0-rc.2 < 1.2.0-rc.10 < 1.2.0 < 1.10.0``; ``+build`` counts for
    nothing. Raises ValueError for what is no version."""
    found = _PARTS.match(version)
    if found is None:
        raise ValueError(f"{version!r} is no version")
    major, minor, patch, before = found.groups()
    words = before.split(".") if before else []
    steps = tuple((not word.isdigit(), int(word) if word.isdigit() else 0, word) for word in words)
    return int(major), int(minor), int(patch), before is None, steps


def released_in(
    root: Path, version: str, look: Callable[[Path], None], pin: Callable[[Path], Pin | None]
) -> Released | None:
    """The newest version below ``version`` that the folder holds, its files pinned; None when there is none."""
    look(root)
    there = [path for path in _inside(root) if path.is_dir() and _PARTS.match(path.name)]
    older = [path for path in there if version_order(path.name) < version_order(version)]
    if not older:
        return None
    newest = max(older, key=lambda path: version_order(path.name))
    look(newest)
    pins = {path.name: pin(path) for path in _inside(newest) if path.suffix == ".jsonl"}
    return Released(newest.name, {name: found for name, found in pins.items() if found})


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
