"""Artifacts by key: ``<store>/<stage>/<key>/``, built in a sibling temporary folder and moved in whole.

<store>/base/3f…/            an artifact: files, facts.json, manifest.json
<store>/base/3f….tmp-1a2b/   what a killed step left; swept under the lock
<store>/scratch/<key>/       what a step keeps for its next try (checkpoints)
<store>/damaged/             artifacts whose bytes changed, moved aside
<store>/journal.sqlite  <store>/pins.json  <store>/lock
<store>/plans/<…>.plan       the plan of a family file, for as long as nothing that it rests on changes
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from variantforge.errors import IntegrityError, Locked
from variantforge.fsops import (
    make_folder,
    move_in,
    remove_tree,
    sweep_temps,
    telling_disk_errors,
    temp_sibling,
    write_json,
)
from variantforge.step import Artifact, Step
from variantforge.store.manifest import MANIFEST, Manifest


class Store:
    """Finished steps, whole or absent. Reading needs no lock; everything that writes is done under ``locked()``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root_text = os.path.join(root, "")
        self._verified: set[str] = set()

    def folder(self, step: Step) -> Path:
        return self.root / step.stage / step.key

    def scratch(self, step: Step) -> Path:
        return self.root / "scratch" / step.key

    def find(self, step: Step) -> Artifact | None:
        """The step's artifact, if it is there; looks for the manifest only, reads no bytes."""
        return Artifact(step.key, self.folder(step)) if self.has(step) else None

    def has(self, step: Step) -> bool:
        """Whether ``find`` finds it. A plan asks this of thousands of steps: so it handles texts, not paths."""
        try:
            os.stat(f"{self._root_text}{step.stage}/{step.key}/{MANIFEST}")  # noqa: PTH116
        except OSError:
            return False
        return True

    def keys(self, stage: str) -> set[str]:
        """Keys of all artifacts of one stage, from one listing of its folder."""
        try:
            with os.scandir(self.root / stage) as entries:
                return {entry.name for entry in entries if "." not in entry.name}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def verified(self, step: Step) -> Artifact:
        """The artifact with every byte checked, once per process.

        Raises IntegrityError after moving a damaged one aside, so that the next run makes it anew.
        """
        artifact = Artifact(step.key, self.folder(step))
        if step.key not in self._verified:
            damage = Manifest.read(artifact.path).damage(artifact.path, hashed=True)
            if damage:
                aside = self._set_aside(artifact.path)
                raise IntegrityError(
                    f"the stored {step.stage} artifact {step.key[:12]} is damaged: {damage}",
                    why=f"It was moved to {aside}; nothing was built from it.",
                    next="run the same command again: the step is done anew",
                )
            self._verified.add(step.key)
        return artifact

    def _set_aside(self, folder: Path) -> Path:
        aside = self.root / "damaged" / f"{folder.parent.name}-{folder.name}-{time.time_ns():x}"
        make_folder(aside.parent)
        os.rename(folder, aside)
        return aside

    @contextlib.contextmanager
    def building(self, step: Step) -> Iterator[tuple[Path, Path]]:
        """``(out, scratch)`` for one try. Call ``commit`` inside; when the block raises, ``out`` is removed."""
        target = self.folder(step)
        make_folder(target.parent)
        out, scratch = make_folder(temp_sibling(target)), make_folder(self.scratch(step))
        try:
            yield out, scratch
        finally:
            remove_tree(out)

    def commit(self, step: Step, out: Path, made: dict[str, Any]) -> Artifact:
        """Manifest last, flush, rename into place; then the scratch folder may go."""
        manifest = Manifest.of_folder(out, step, made)
        manifest.write(out)
        move_in(out, self.folder(step))
        remove_tree(self.scratch(step))
        self._verified.add(step.key)
        return Artifact(step.key, self.folder(step))

    @contextlib.contextmanager
    def locked(self, command: str = "") -> Iterator[None]:
        """One writer at a time, by a kernel lock that dies with its holder. Raises Locked at once."""
        from filelock import FileLock, Timeout

        make_folder(self.root)
        lock = FileLock(self.root / "lock")
        try:
            with telling_disk_errors(self.root):
                lock.acquire(timeout=0)
        except Timeout:
            raise self._locked_by() from None
        try:
            holder = {"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S"), "command": command or _command()}
            write_json(self.root / "holder.json", holder)
            self.sweep()
            yield
        finally:
            remove_tree(self.root / "holder.json")
            lock.release()

    def _locked_by(self) -> Locked:
        try:
            holder = json.loads((self.root / "holder.json").read_text())
            who = f"process {holder['pid']} since {holder['since']}: {holder['command']}"
        except (OSError, ValueError, KeyError):
            who = "a process that is just starting"
        return Locked(
            f"another variantforge works on {self.root}",
            why=who,
            next="wait for it to end, or use another place with --store",
        )

    def sweep(self) -> int:
        """Removes what killed writers left, and what finished steps keep no longer; call it under the lock."""
        folders = [path for path in self.root.iterdir() if path.is_dir()] if self.root.is_dir() else []
        finished = {key for folder in folders if folder != self.root / "scratch" for key in self.keys(folder.name)}
        for key in self.keys("scratch") & finished:
            remove_tree(self.root / "scratch" / key)
        return sum(sweep_temps(folder) for folder in folders) + sweep_temps(self.root)


def _command() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
