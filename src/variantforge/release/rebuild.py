"""Local state from the Hub alone: every repo of a release back into the store, as the step that laid it out left it.

Its key is known from variantforge.json, and with the bytes, whose digests stand there too, its whole artifact. Whoever
has the family file then finds those steps done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from variantforge.errors import IntegrityError, Interrupted, OutOfSpace
from variantforge.fsops import free_bytes, link_or_copy, write_json, write_text
from variantforge.hashing import file_digest, text_digest
from variantforge.plan.plan import Plan
from variantforge.release.found import Found, Part
from variantforge.release.hub import Hub
from variantforge.release.journal import Releases
from variantforge.release.record import LINEAGE, parse_lineage
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
