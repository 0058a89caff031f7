"""What it took: seconds and bytes of every step that is here, on which machines, with which versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from variantforge.report.document import Ledger, Run, Spent
from variantforge.report.shelf import Shelf
from variantforge.stages import PIPELINE
from variantforge.store.manifest import Manifest

MOST_RUNS = 10


def ledger(shelf: Shelf) -> Ledger:
    manifests = {key: manifest for key in shelf.plan.steps if (manifest := _manifest(shelf, key))}
    steps = [_spent(shelf.plan.label(key), manifest) for key, manifest in manifests.items()]
    by_stage = {
        stage: sum(step.seconds for step in steps if step.stage == stage)
        for stage in PIPELINE
        if any(step.stage == stage for step in steps)
    }
    return Ledger(
        steps,
        {stage: round(seconds, 3) for stage, seconds in by_stage.items()},
        round(sum(step.seconds for step in steps), 3),
        sum(step.size_bytes for step in steps),
        sorted({_machine(manifest.made.get("machine") or {}) for manifest in manifests.values()}),
        _versions(manifests.values()),
        list(_runs(shelf)),
    )


def _manifest(shelf: Shelf, key: str) -> Manifest | None:
    artifact = shelf.of_key(key)
    return shelf.manifest(artifact) if artifact else None


def _spent(label: str, manifest: Manifest) -> Spent:
    made = manifest.made
    size = sum(file.size_bytes for file in manifest.files)
    notes = [str(note) for note in made.get("notes", [])]
    seconds, started = float(made.get("seconds") or 0), float(made.get("started") or 0)
    return Spent(label, str(manifest.step["stage"]), seconds, started, size, notes)


def _machine(machine: Mapping[str, Any]) -> str:
    cores = f", {machine['cores']} cores" if machine.get("cores") else ""
    return f"{machine.get('system', 'unknown system')} {machine.get('processor', '')}{cores}"


def _versions(manifests: Any) -> dict[str, list[str]]:
    """Tool -> every version that made something here."""
    found: dict[str, set[str]] = {}
    for manifest in manifests:
        for tool, version in (manifest.made.get("versions") or {}).items():
            found.setdefault(tool, set()).add(version)
    return {tool: sorted(versions) for tool, versions in sorted(found.items())}


def _runs(shelf: Shelf) -> Iterator[Run]:
    """The last runs of this family, newest first."""
    mine = [run for run in shelf.journal.runs(limit=1000) if run["family"] == shelf.plan.family.family]
    for run in mine[:MOST_RUNS]:
        seconds = round(run["ended"] - run["started"], 3) if run["ended"] else None
        yield Run(run["started"], seconds, run["outcome"] or "killed, or still at work")
