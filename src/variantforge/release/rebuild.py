"""Local state from the Hub alone: every repo of a release back into the store, as the step that laid it out left it.

variantforge.json names the recipe of that step, so its key is known without the family file; and with the bytes, whose
digests it names too, its artifact is known. Whoever has the family file then finds those steps done.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variantforge.errors import IntegrityError, Interrupted, NotOnHub, OutOfSpace, UsageError
from variantforge.fsops import free_bytes, link_or_copy, write_json, write_text
from variantforge.hashing import file_digest, text_digest
from variantforge.plan.plan import Plan
from variantforge.refs import Ref
from variantforge.release.hub import Hub
from variantforge.release.journal import Releases
from variantforge.release.observed import Observed, observe
from variantforge.release.parallel import each
from variantforge.release.planning import page_of
from variantforge.release.promote import versions_of
from variantforge.release.record import LINEAGE, Channel, Lineage, Record, parse_lineage
from variantforge.release.snapshot import Snapshot, Snapshots
from variantforge.release.work import Reporter
from variantforge.stages.card.managed import managed
from variantforge.stages.card.repos import PAGE
from variantforge.stages.publish.hub import REPO
from variantforge.stages.publish.stage import STAGE
from variantforge.stages.stage import Place
from variantforge.step import FACTS, Artifact, Step
from variantforge.store.artifacts import Store
from variantforge.store.journal import Journal

ASK_BYTES = 1_000_000_000  # more than this is asked before it is fetched
_RELEASE = "release.json"  # the file that the publish stage writes beside repo/


@dataclass(frozen=True)
class Part:
    """One repo at its released commit, and the step that laid it out."""

    repo: str
    step: Step
    there: Snapshot
    lineage: Lineage

    @property
    def place(self) -> Place:
        return Place("publish", str(self.lineage.more.get("variant")), str(self.lineage.more.get("form")))

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


def rebuild(
    found: Found,
    store: Store,
    journal: Releases,
    plan: Plan | None,
    reporter: Reporter,
    stop: threading.Event,
) -> list[str]:
    """Fetches what the store lacks, each repo built aside and moved in whole; call it under ``store.locked()``.

    Returns what could not be rebuilt, as sentences. Killed, it goes on with the files it has. Raises IntegrityError for
    a byte that is not the released one, OutOfSpace, Interrupted, HubError.
    """
    parts = found.wanted(store)
    _check_room(store.root, sum(part.size_bytes for part in parts))
    reporter.phase("verify", len(parts))
    for part in parts:
        _fetch(found.hub, store, part, stop)
        reporter.done("verify", part.repo, part.step.key)
    page = _page_step(found, plan)
    if page is not None and store.find(page) is None:
        _write_page(found, store, page)
    _remember(found, store, journal, page)
    return [*found.missing, *([] if page else ["the family page: the family file is not that of this release"])]


def _check_room(root: Path, size_bytes: int) -> None:
    if (free := free_bytes(root)) < size_bytes:
        raise OutOfSpace(
            f"{size_bytes / 1e9:.2f} GB are to be fetched, and {free / 1e9:.2f} GB are free at {root}",
            next="free some space there, or choose another place with --store",
        )


def _fetch(hub: Hub, store: Store, part: Part, stop: threading.Event) -> Artifact:
    with store.building(part.step) as (out, scratch):
        for path in sorted(part.lineage.paths):
            if stop.is_set():
                raise Interrupted("stopped; what was fetched is kept", next="run the same command again: it goes on")
            _lay(hub, part, path, scratch, out / REPO / path)
        data = (out / REPO / LINEAGE).read_bytes()
        if part.lineage.tree(data) != part.there.tree:
            raise IntegrityError(f"{part.repo} serves another {LINEAGE} than was released", next="vf drift")
        files = {path: {"sha256": it.sha256, "size_bytes": it.size_bytes} for path, it in part.lineage.files.items()}
        files[LINEAGE] = {"sha256": text_digest(data.decode()), "size_bytes": len(data)}
        facts = {"repo": part.repo, "files": files, "withheld": part.lineage.more.get("withheld", {})}
        return _finish(store, part.step, out, facts, f"imported from {part.repo} at {part.there.oid}")


def _lay(hub: Hub, part: Part, path: str, scratch: Path, target: Path) -> None:
    """A file as the step made it: of README.md our part, without what people wrote around it."""
    if path == PAGE:
        write_text(target, managed(part.there.readme or ""))
    else:
        kept, remote = scratch / REPO / path, part.there.files[path]
        if not kept.exists() or kept.stat().st_size != remote.size_bytes:
            hub.download(part.repo, part.there.oid, remote, kept)
        link_or_copy(kept, target)
    if path != LINEAGE and file_digest(target) != part.lineage.files[path].sha256:
        (scratch / REPO / path).unlink(missing_ok=True)
        raise IntegrityError(
            f"{part.repo} serves other bytes for {path} than were released",
            why=f"sha256 {part.lineage.files[path].sha256[:12]} was released. Nothing of it was taken into the store.",
            next="vf drift",
        )


def _finish(store: Store, step: Step, out: Path, facts: Mapping[str, Any], note: str) -> Artifact:
    write_json(out / _RELEASE, facts)
    write_json(out / FACTS, facts)
    made = {"started": time.time(), "seconds": 0.0, "notes": [note], "label": note}
    return store.commit(step, out, made)


def _page_step(found: Found, plan: Plan | None) -> Step | None:
    """The step that laid the family page out: the plan's, if it is of the same card; without a plan, by the record."""
    record = found.record
    if LINEAGE not in found.page:
        return None
    made_from = parse_lineage(found.page[LINEAGE], f"{LINEAGE} of {record.index.repo}").more.get("made_from")
    if not isinstance(made_from, dict):
        return None
    if plan is not None:
        wished = plan.steps.get(plan.places.get(Place("publish", None, "family"), ""))
        return wished if wished and dict(wished.inputs) == made_from else None
    collection = record.collection
    items = [{"repo": item.repo, "note": item.note} for item in collection.items] if collection else []
    params = {
        "family": record.family,
        "variant": None,
        "version": record.version,
        "form": "family",
        "repo": record.index.repo,
        "channel": record.channel,
        "visibility": record.visibility,
        "gated": record.gated,
        "collection": collection and {"title": collection.title, "description": collection.description, "items": items},
    }
    return Step("publish", STAGE.version, "hub", params, made_from)


def _write_page(found: Found, store: Store, step: Step) -> None:
    record, collection = found.record, step.params["collection"]
    kept_back = {*record.withheld, *(repo for repo, released in record.repos.items() if released.refused)}
    if collection:
        collection = collection | {"items": [it for it in collection["items"] if it["repo"] not in kept_back]}
    with store.building(step) as (out, _):
        for path, data in found.page.items():
            write_text(out / REPO / path, data.decode())
        files = {
            path: {"sha256": text_digest(data.decode()), "size_bytes": len(data)} for path, data in found.page.items()
        }
        facts = {"withheld": {}, "repo": record.index.repo, "files": files, "collection": collection}
        _finish(store, step, out, facts, f"imported from {record.index.repo} {record.version}")


def _remember(found: Found, store: Store, journal: Releases, page: Step | None) -> None:
    """What stands at each place, and that these commits were verified."""
    rows = [(part.place, part.step, "") for part in found.parts]
    rows += [(Place("publish", None, "family"), page, "")] if page else []
    Journal(store.root / "journal.sqlite").use(found.record.family, rows)
    journal.enter(found.record, "done")
    for part in found.parts:
        journal.verified(part.repo, part.there.oid)
