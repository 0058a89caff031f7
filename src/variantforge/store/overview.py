"""What there is of a family: the artifacts that its last apply used at each place. Reads; needs no plan, no network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from variantforge.stages import PIPELINE
from variantforge.stages.stage import Place
from variantforge.step import Artifact
from variantforge.store.artifacts import Store
from variantforge.store.journal import Journal
from variantforge.store.manifest import MANIFEST, Manifest


@dataclass(frozen=True)
class Entry:
    """One place of a family and the artifact that stands there; its folder may be gone since."""

    place: Place
    key: str
    path: Path

    @cached_property
    def exists(self) -> bool:
        return (self.path / MANIFEST).exists()

    @cached_property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in Manifest.read(self.path).files) if self.exists else 0

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the step found out; empty when the artifact is gone."""
        return Artifact(self.key, self.path).facts if self.exists else {}


@dataclass(frozen=True)
class Overview:
    """``entries`` stand in the pipeline's order; ``runs`` are the store's last ones, newest first."""

    entries: list[Entry]
    runs: list[dict[str, Any]]

    def of(self, variant: str | None, stage: str | None = None) -> list[Entry]:
        """The entries of one variant (None: those of the family as a whole), of one stage or of all."""
        return [
            entry for entry in self.entries if entry.place.variant == variant and stage in (None, entry.place.stage)
        ]


def overview(store: Store, family: str, *, runs: int = 5) -> Overview:
    """Everything that the last apply of ``family`` left in the store. Empty when there was none."""
    journal = Journal(store.root / "journal.sqlite")
    order = {stage: number for number, stage in enumerate(PIPELINE)}
    used = sorted(journal.used(family).items(), key=lambda item: (order.get(item[0].stage, 99), item[0].name))
    entries = [Entry(place, one.key, store.root / place.stage / one.key) for place, one in used]
    mine = [run for run in journal.runs(limit=1000) if run["family"] == family]
    return Overview(entries, mine[:runs])
