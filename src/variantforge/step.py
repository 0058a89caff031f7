"""The words every later module shares: Step, Artifact, StepContext.

A step names its stage, its parameters and its inputs; its key is the hash of exactly those. It knows nothing of
display names, of the store, or of where it runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from variantforge.fsops import read_small, write_json
from variantforge.hashing import canonical_json, key_of_text

FACTS, MANIFEST = "facts.json", "manifest.json"


@dataclass(frozen=True, slots=True)
class Pin:
    """Foreign bytes, pinned: ``digest`` is what they are (it enters keys), ``at`` is where they lie (it does not).

    ``at`` is an absolute local path, or ``hub:org/name@<commit>``.
    """

    digest: str
    at: str


@dataclass(frozen=True)
class Step:
    """One unit of work. ``inputs``: role -> key of another step. ``pins``: role -> foreign bytes.

    ``hints`` never change the bytes made (a folder to publish to, a batch size of an evaluation) and are not
    part of the key.
    """

    stage: str
    version: int
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, Pin] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        text = self.__dict__["text"] = canonical_json(self.identity)
        return key_of_text(text)

    @cached_property
    def text(self) -> str:
        """``identity`` as canonical JSON: the text that the key is the hash of."""
        return canonical_json(self.identity)

    @property
    def identity(self) -> dict[str, Any]:
        """Exactly what the key is the hash of."""
        return {
            "stage": self.stage,
            "version": self.version,
            "method": self.method,
            "params": self.params,
            "inputs": self.inputs,
            "pins": {role: pin.digest for role, pin in self.pins.items()},
        }


@dataclass(frozen=True)
class Artifact:
    """A finished step's folder: whole, and never written again."""

    key: str
    path: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the step found out (``facts.json``): JSON, without timings, equal for equal steps."""
        facts: dict[str, Any] = json.loads(read_small(f"{self.path}/{FACTS}"))
        return facts

    @cached_property
    def versions(self) -> dict[str, str]:
        """Tool -> the version that made this, noted when it was made; {} of a folder that no store has taken in."""
        manifest = self.path / MANIFEST
        made: dict[str, Any] = json.loads(read_small(str(manifest)))["made"] if manifest.exists() else {}
        return dict(made.get("versions", {}))

    @property
    def refusal(self) -> str:
        """Why what hangs on this artifact must not ship ('' when it may). Written by gates."""
        return str(self.facts.get("refusal", ""))


Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class StepContext:
    """What a stage is handed to do one step.

    ``out`` is an empty folder that becomes the artifact when the step returns. ``scratch`` survives a kill and is
    handed to the next try of the same step (checkpoints live there); it is removed when the step is done.
    ``stopping()`` turns true when the user asked to stop: save, then raise ``Interrupted``.
    """

    step: Step
    inputs: Mapping[str, Artifact]
    out: Path
    scratch: Path
    label: str = ""
    emit: Emit = lambda event: None
    stopping: Callable[[], bool] = lambda: False

    def progress(self, done: float, total: float, unit: str = "", **metrics: Any) -> None:
        """How far the step is: ``progress(3, 40, "step", loss=1.2)``. Cheap; call it as often as you like."""
        self.emit({"kind": "progress", "done": done, "total": total, "unit": unit, "metrics": metrics})

    def note(self, text: str) -> None:
        """Something a person should read (rows skipped, a fallback taken); shown, and kept in the manifest."""
        self.emit({"kind": "note", "text": text})

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Call once, at the end. JSON without timings or paths: equal steps must give equal bytes."""
        write_json(self.out / FACTS, dict(facts))
