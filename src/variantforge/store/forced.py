"""Which refusals of gates somebody overrode, and why: by the key of the gate, so of exactly these bytes and demands.

``<store>/forced.json``: family -> key -> the gate's place, the reason, and when. Whatever changes what the gate judged,
or what is demanded, makes another key, and is refused again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from variantforge.errors import IntegrityError
from variantforge.fsops import write_json

FILE = "forced.json"


def reasons(root: Path, family: str) -> dict[str, str]:
    """Key of a gate -> why what it refuses ships all the same. Raises IntegrityError for a damaged file."""
    return {key: one["reason"] for key, one in _read(root).get(family, {}).items()}


def force(root: Path, family: str, gates: Mapping[str, str], reason: str) -> None:
    """Remembers the reason for gates (key -> what people call it). Nothing is forgotten."""
    known = _read(root)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    added = {key: {"gate": label, "reason": reason, "when": when} for key, label in gates.items()}
    write_json(root / FILE, {**known, family: {**known.get(family, {}), **added}})


def _read(root: Path) -> dict[str, dict[str, dict[str, str]]]:
    path = root / FILE
    if not path.exists():
        return {}
    try:
        known: dict[str, dict[str, dict[str, str]]] = json.loads(path.read_bytes())
        if all(isinstance(one["reason"], str) for gates in known.values() for one in gates.values()):
            return known
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{path} is damaged: {type(error).__name__}",
            why="It only remembers which refusals of gates were overridden, and why.",
            next=f"rm {path}   # then such gates refuse again",
        ) from error
    raise IntegrityError(f"{path} is damaged: a reason is no text", next=f"rm {path}")
