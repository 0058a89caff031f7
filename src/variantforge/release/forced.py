"""Refusals of gates that somebody overrode, as what was published tells of them: no other machine must be told again.

variantforge.json names for each file that shipped by force the reason and the key of its gate, which stands for exactly
these figures and demands. Whoever plans the same gate finds the reason; any other gate refuses as if nothing was said.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from variantforge.fsops import read_small
from variantforge.hashing import KEY_LENGTH
from variantforge.stages.publish.release import MANIFEST

_KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
_TOLD = "forced"  # in a variantforge.json
_MOST_BYTES = 16 << 20
_LONGEST = 10_000  # characters of a reason


class Forced(NamedTuple):
    """``gate``: its key before it was forced; ``subject``: what it judged, such as ``gguf:Q4_K_M``."""

    gate: str
    subject: str
    reason: str


def forced_in(told: Any) -> Iterator[Forced]:
    """``told``: what a variantforge.json says under ``forced``. It is from outside: what is not of our form says
    nothing, and the gate refuses again."""
    for subject, one in told.items() if isinstance(told, dict) else ():
        gate, reason = (one.get("gate"), one.get("reason")) if isinstance(one, dict) else (None, None)
        if isinstance(gate, str) and _KEY.fullmatch(gate) and isinstance(reason, str) and reason.strip():
            yield Forced(gate, str(subject), " ".join(reason.split())[:_LONGEST])


def forced_in_folder(root: Path, family: str, look: Callable[[Path | str], None]) -> dict[str, str]:
    """Key of a gate -> reason, of what ``family`` published into a folder; ``look`` hears of every file read."""
    look(root)
    found: dict[str, str] = {}
    for file in _manifests(root):
        look(file)
        told = _read(file)
        if told.get("family") == family:
            found |= {one.gate: one.reason for one in forced_in(told.get(_TOLD))}
    return found


def _manifests(root: Path) -> list[str]:
    """Where they would lie, as texts: there may be thousands."""
    try:
        with os.scandir(root) as entries:
            return sorted(os.path.join(entry.path, MANIFEST) for entry in entries)
    except OSError:
        return []


def _read(file: str) -> Mapping[str, Any]:
    """What a file tells; {} where it tells of nothing forced, without reading it through: hardly any does."""
    try:
        if os.stat(file).st_size > _MOST_BYTES:  # noqa: PTH116
            return {}
        text = read_small(file)
        told = json.loads(text) if f'"{_TOLD}"'.encode() in text else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
