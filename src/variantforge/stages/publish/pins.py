"""What a repo rests on that others may change: the pins of every step beneath it, in the words of variantforge.lock.

Laws: equal steps have equal pins, since a step's key holds those of all steps beneath it; and the digest moves exactly
when a pin does, so never without the repo's own steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from variantforge.hashing import tree_digest
from variantforge.stages.stage import Desk
from variantforge.step import Pin, Step

_ONLY = {"base": "model", "data": "data"}  # stage -> the role of the one pin that its steps mostly have


def pins_beneath(desk: Desk, payload: Mapping[str, Step]) -> dict[str, str]:
    """Role -> commit on the Hub, or ``sha256:`` of local bytes; ``payload``: the steps whose bytes a repo holds.

    Nearest first, so that a role is that of the repo's own base, whatever a teacher further down was made of.
    """
    found: dict[str, str] = {}
    waiting: deque[tuple[tuple[str, ...], Step]] = deque(((role,), step) for role, step in sorted(payload.items()))
    seen: set[str] = set()
    while waiting:
        path, step = waiting.popleft()
        if step.key in seen:
            continue
        seen.add(step.key)
        for pin_role, pin in sorted(step.pins.items()):
            role, pinned = role_of(step.stage, path[-1], pin_role), pinned_as(pin)
            if found.setdefault(role, pinned) != pinned:  # two bases, say: the second one goes by its way down
                found["/".join((role, *path))] = pinned
        waiting.extend(((*path, role), below) for role, below in sorted(desk.inputs_of(step).items()))
    return found


def role_of(stage: str, name: str, pin_role: str) -> str:
    """``base``, ``data/chat``, ``data/stdlib/package:json``. ``name``: the role under which the step is an input."""
    parts = [stage, *([name] if name != stage else []), *([pin_role] if pin_role != _ONLY.get(stage) else [])]
    return "/".join(parts)


def pinned_as(pin: Pin) -> str:
    """As ``commit`` or ``content`` of an entry in variantforge.lock."""
    kind, colon, commit = pin.digest.partition(":")
    return commit if kind == "hub" else pin.digest if colon else f"sha256:{pin.digest}"


def named(pinned: Mapping[str, str], card: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The pins with the names that the card tells of them, too (``card``: its params); no path of this machine."""
    told = {"base": card["base"]} | {role_of("data", name, "data"): it for name, it in card["data"]["sources"].items()}
    return {role: _named(what, told.get(role, {})) for role, what in pinned.items()}


def _named(pinned: str, told: Mapping[str, Any]) -> dict[str, str]:
    fact = "content" if ":" in pinned else "commit"
    return {fact: pinned} | {name: told[name] for name in ("hub", "package", "file") if isinstance(told.get(name), str)}


def pins_digest(pinned: Mapping[str, str]) -> str:
    """64 hex digits: the SHA-256 of ``{role: commit or content}`` as canonical JSON."""
    return tree_digest(dict(pinned))


def read_pins(told: Any) -> dict[str, str] | None:
    """Role -> commit or content of what a variantforge.json tells; None when that is not of our form."""
    if not isinstance(told, dict):
        return None
    found: dict[str, str] = {}
    for role, pin in told.items():
        pinned = pin.get("commit", pin.get("content")) if isinstance(pin, dict) else None
        if not isinstance(pinned, str):
            return None
        found[role] = pinned
    return found
