"""A plan remembered from an earlier run: ``vf plan`` of thousands of steps without laying them out again.

    <store>/plans/<digest of the file's path>.plan
    1  "variantforge plan", the format, SHA-256 of everything below
    2  JSON: the family file's digest, the code and the paths that the plan rests on, the family's names, and what
       was told beside the plan
    3… a line per step: key, stage, its places, pins and hints as JSON, its identity (what the key is the hash of)

It is believed only when the family file has the same bytes and every path that planning looked at, the loaded code
among them, has the stamp that it had then (``seen``). A plan that asked the Hub, or a plug-in, is not remembered.
A file that is missing, damaged or of another format is as good as none. Only what shows a plan reads this; what
carries one out lays it out anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variantforge.errors import VariantforgeError
from variantforge.fsops import write_bytes
from variantforge.hashing import bytes_digest, canonical_json, text_digest
from variantforge.plan.plan import Plan
from variantforge.plan.seen import Seen, installed_in, unchanged
from variantforge.registry import plugged_in
from variantforge.stages import Place
from variantforge.step import Pin, Step

_TITLE = "variantforge plan 2"
_BETWEEN = "\x1f"  # places of one step; their names may hold spaces
_ENVIRONMENT = ("HOME", "PYTHONPATH", "PYTHONHOME")  # what a path in a family file, or a package's place, may hang on


@dataclass(frozen=True)
class Names:
    """What a remembered plan still knows of its family."""

    family: str
    version: str
    variants: Mapping[str, None]


class RememberedPlan:
    """The memory of one family file's plan; ``folder`` is where the store keeps such."""

    def __init__(self, folder: Path, file: Path) -> None:
        self._file = file.parent.resolve() / file.name  # a link to a file elsewhere: its paths start here
        self.path = folder / f"{text_digest(str(self._file))[:32]}.plan"

    def read(self) -> tuple[Plan, list[str]] | None:
        """The plan as it would be laid out now, and what was told beside it; None when that is not certain."""
        try:
            head, body = self.path.read_bytes().split(b"\n", 1)
            if head.decode() != f"{_TITLE} {bytes_digest(body)}":
                return None
            first, *lines = body.decode("ascii").split("\n")
            known = json.loads(first)
            if known["rests_on"] != self._rests_on() or not unchanged(known["code"]) or not unchanged(known["seen"]):
                return None
            return _plan(known["family"], lines), known["told"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, plan: Plan, seen: Seen, told: Sequence[str] = ()) -> None:
        """Remembers a plan that was just laid out, and what was told beside it.

        A store that cannot be written costs time, never correctness."""
        code = seen.code()
        if plugged_in or not seen.lasting or not seen.settled or code is None:
            return
        with contextlib.suppress(OSError, VariantforgeError, TypeError, ValueError):
            family = {"family": plan.family.family, "version": plan.family.version}
            known = {
                "rests_on": self._rests_on(),
                "code": code,
                "seen": seen.stamps,
                "told": list(told),
                "family": {**family, "variants": list(plan.family.variants)},
            }
            body = "\n".join([canonical_json(known), *(_line(plan, step) for step in plan.steps.values())]).encode()
            write_bytes(self.path, f"{_TITLE} {bytes_digest(body)}\n".encode() + body)

    def _rests_on(self) -> dict[str, Any]:
        environment = {name: os.environ.get(name) for name in _ENVIRONMENT}
        return {
            "file": [str(self._file), bytes_digest(self._file.read_bytes())],
            "python": [sys.version, sys.prefix, *installed_in()],
            "environment": environment,
        }


def _line(plan: Plan, step: Step) -> str:
    """Raises ValueError or TypeError for a step that the form cannot hold."""
    places = [f"{place.stage}/{place.variant or ''}/{place.name}" for place in plan.places_of[step.key]]
    beside: dict[str, Any] = {"hints": step.hints} if step.hints else {}
    if step.pins:
        beside["at"] = {role: pin.at for role, pin in step.pins.items()}
    columns = (step.key, step.stage, _BETWEEN.join(places), canonical_json(beside) if beside else "", step.text)
    if "\n" in columns[2] or "\t" in columns[2] or columns[2].count(_BETWEEN) != len(places) - 1:
        raise ValueError(f"a place's name cannot be kept: {columns[2]!r}")
    return "\t".join(columns)


def _plan(family: Mapping[str, Any], lines: list[str]) -> Plan:
    steps: dict[str, Step] = {}
    places: dict[Place, str] = {}
    for line in lines:
        key, stage, stands, beside, text = line.split("\t", 4)
        steps[key] = RememberedStep(key, stage, beside, text)
        for place in stands.split(_BETWEEN):
            of, variant, name = place.split("/", 2)
            places[Place(of, variant or None, name)] = key
    names = Names(family["family"], family["version"], dict.fromkeys(family["variants"]))
    return Plan(names, steps, places)


class RememberedStep(Step):
    """A step whose fields are read when one is asked for: of thousands, few are."""

    def __init__(self, key: str, stage: str, beside: str, text: str) -> None:
        self.__dict__.update(key=key, stage=stage, text=text, _beside=beside)

    def __getattr__(self, name: str) -> Any:
        """Called for a field that is not there yet: fills all of them."""
        if name.startswith("_") or "_beside" not in self.__dict__:
            raise AttributeError(name)
        identity, beside = json.loads(self.text), json.loads(self.__dict__.pop("_beside") or "{}")
        at = beside.get("at", {})
        pins = {role: Pin(digest, at[role]) for role, digest in identity.pop("pins").items()}
        self.__dict__.update(identity, pins=pins, hints=beside.get("hints", {}))
        return getattr(self, name)
