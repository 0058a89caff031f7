"""A release as the Hub holds it: its repos, each with the step that laid it out, and the family page.

variantforge.json names the recipe of that step, so its key is known without the family file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from variantforge.errors import IntegrityError, NotOnHub, UsageError
from variantforge.refs import Ref
from variantforge.release.hub import Hub
from variantforge.release.lock.record import Lock
from variantforge.release.lock.rests import held, not_as_locked, pins_told
from variantforge.release.observed import Observed, observe
from variantforge.release.parallel import each
from variantforge.release.planning import page_of
from variantforge.release.promote import versions_of
from variantforge.release.record import Channel, Lineage, Record
from variantforge.release.snapshot import Snapshot, Snapshots
from variantforge.spec.family import FamilySpec
from variantforge.stages.stage import Place
from variantforge.step import Step
from variantforge.store.artifacts import Store


@dataclass(frozen=True)
class Part:
    """One repo at its released commit, and the step that laid it out."""

    repo: str
    step: Step
    there: Snapshot
    lineage: Lineage

    @property
    def variant(self) -> str:
        return str(self.lineage.more.get("variant"))

    @property
    def place(self) -> Place:
        return Place("publish", self.variant, str(self.lineage.more.get("form")))

    @property
    def size_bytes(self) -> int:
        return sum(self.there.files[path].size_bytes for path in self.lineage.paths)


@dataclass(frozen=True)
class Found:
    """A release as the Hub holds it. ``page``: the index repo's own files as released. ``missing``: sentences of what
    cannot be rebuilt."""

    record: Record
    parts: tuple[Part, ...]
    page: Mapping[str, bytes]
    missing: tuple[str, ...]
    hub: Hub

    def wanted(self, store: Store) -> list[Part]:
        """The parts that the store has not got."""
        return [part for part in self.parts if store.find(part.step) is None]

    def not_as_locked(self, lock: Lock, family: FamilySpec) -> list[str]:
        """Sentences: repos of variants of this family that were made of other bases or data than the lock holds."""
        rests = {
            part.repo: not_as_locked(pins_told(part.lineage), held(lock, family, part.variant)) for part in self.parts
        }
        return [f"{repo} rests on {'; '.join(others)}" for repo, it in rests.items() if (others := list(it))]

    @property
    def bases(self) -> dict[str, str]:
        """Base on the Hub -> the commit that released adapters name."""
        return {name: commit for part in self.parts for name, commit in _base_of(self.hub, part)}


def find_release(hub: Hub, index_repo: str, channel: Channel = "stable", version: str = "") -> Found:
    """Reads what a release names: trees, lineages, the page; no weights.

    Raises UsageError where there is no such release, IntegrityError where the Hub no longer holds it.
    """
    snapshots = Snapshots(hub)
    seen = observe(hub, index_repo, channel, snapshots, version=version)
    record = seen.released_as(version) if version else seen.record
    if record is None:
        raise _no_release(hub, index_repo, channel, version, seen)
    found = each(lambda repo: _part(snapshots, record, repo), record.repos)
    missing = [what for what in found if isinstance(what, str)]
    missing += [
        f"{repo}: a gate kept it back ({why}); apply measures it again" for repo, why in record.withheld.items()
    ]
    parts = tuple(part for part in found if isinstance(part, Part))
    return Found(record, parts, page_of(hub, record, seen), tuple(missing), hub)


def _no_release(hub: Hub, index_repo: str, channel: Channel, version: str, seen: Observed) -> UsageError:
    if seen.index is None:
        return UsageError(
            f"there is no {index_repo}, or it is hidden from this token",
            next="vf import --index ORG/NAME   # the repo that holds the family page",
        )
    return UsageError(
        f"{index_repo} has no release {version or f'on its channel {channel}'}",
        why=f"Released are: {', '.join(versions_of(seen)) or 'none'}.",
        next=f"look at {hub.page(index_repo)}",
    )


def _part(snapshots: Snapshots, record: Record, repo: str) -> Part | str:
    """The repo, or why it cannot be put back. Raises IntegrityError where it is not what the release says."""
    released = record.repos[repo]
    there = snapshots.find(repo, released.commit)
    if there is None or there.lineage is None or there.tree != released.tree:
        raise IntegrityError(
            f"{repo} at {released.commit[:12]} is not what {record.version} released",
            why=there.unreadable if there else "That commit is gone.",
            next=f"vf verify {record.index.repo}   # everything that differs",
        )
    if lost := sorted(there.lineage.paths - there.files.keys()):
        raise IntegrityError(f"{repo} at {released.commit[:12]} lacks {', '.join(lost)}", next="vf drift")
    step = step_of(there.lineage)
    if step is None:
        return f"{repo}: its variantforge.json names no step that this version knows; apply lays it out anew"
    return Part(repo, step, there, there.lineage)


def step_of(lineage: Lineage) -> Step | None:
    """The step that laid a repo out, when what variantforge.json says of it makes the very key it names."""
    recipe, inputs = lineage.more.get("recipe"), lineage.more.get("made_from")
    if not isinstance(recipe, dict) or not isinstance(inputs, dict):
        return None
    try:
        step = Step("publish", recipe["version"], recipe["method"], recipe["params"], inputs)
        return step if step.key == lineage.more.get("step") and step.params["repo"] == lineage.repo else None
    except (KeyError, TypeError, ValueError):
        return None


def _base_of(hub: Hub, part: Part) -> Iterable[tuple[str, str]]:
    revision = part.step.params.get("base_revision")
    if not revision:
        return
    with suppress(ValueError, AttributeError, NotOnHub):  # an adapter's settings, from outside: read for a hint alone
        config = json.loads(hub.read(part.repo, part.there.oid, "adapter_config.json"))
        if (ref := Ref.parse(str(config.get("base_model_name_or_path")))).kind == "hub":
            yield ref.name, str(revision)
