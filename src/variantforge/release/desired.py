"""What the Hub shall hold: read off the publish artifacts, which lay every repo out whole. Needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from variantforge.errors import PublishError, UsageError
from variantforge.hashing import text_digest, tree_digest
from variantforge.plan.build import Plan
from variantforge.release.hub import RemoteFile, same
from variantforge.release.lock.facts import tools
from variantforge.release.lock.record import Lock
from variantforge.release.lock.text import lock_digest
from variantforge.release.record import (
    LINEAGE,
    Channel,
    CollectionRecord,
    Gated,
    Item,
    Visibility,
    is_version,
    parse_lineage,
)
from variantforge.release.snapshot import Snapshot
from variantforge.stages.card.managed import compose, managed
from variantforge.stages.card.repos import PAGE
from variantforge.stages.publish.hub import REPO
from variantforge.stages.stage import Place
from variantforge.step import Artifact
from variantforge.store.artifacts import Store

_DESCRIPTION, _NOTE = 150, 500  # the most letters that the Hub takes for a collection, and for one item
_REASON = 2000  # letters of a refusal that are kept in release.json


@dataclass(frozen=True)
class File:
    """A managed file and where its bytes lie. ``sha256`` of README.md is that of its managed part."""

    path: Path
    sha256: str
    size_bytes: int

    def is_at(self, remote: RemoteFile) -> bool:
        return same(remote, self.path, self.sha256)


@dataclass(frozen=True)
class DesiredRepo:
    repo: str
    files: Mapping[str, File]

    @cached_property
    def tree(self) -> str:
        return tree_digest({path: file.sha256 for path, file in self.files.items()})

    def differing(self, there: Snapshot) -> dict[str, File]:
        """The files that a revision does not hold as they are wanted."""
        return {path: file for path, file in self.files.items() if not _holds(there, path, file)}

    def content(self, path: str, there: Snapshot | None) -> Path | bytes:
        """What is written at a path: of README.md our part, and what people wrote into the one that is there."""
        if path != PAGE:
            return self.files[path].path
        return compose(self.files[path].path.read_text(), there.readme if there else None).encode()


def _holds(there: Snapshot, path: str, file: File) -> bool:
    if path == PAGE:
        return there.card == file.sha256
    remote = there.files.get(path)
    return remote is not None and file.is_at(remote)


@dataclass(frozen=True)
class Desired:
    """``refused``: repo -> why a gate keeps it as it was. ``index``: the family page, without release.json.
    ``lock`` and ``tools``: as in the record.
    """

    family: str
    version: str
    channel: Channel
    visibility: Visibility
    gated: Gated
    repos: Mapping[str, DesiredRepo]
    index: DesiredRepo
    refused: Mapping[str, str]
    collection: CollectionRecord | None = None
    lock: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)


def desired_of(plan: Plan, store: Store, lock: Lock | None = None) -> Desired:
    """``lock``: the one that the plan was laid out with.

    Raises UsageError when the family is not published to the Hub, PublishError when a repo is not laid out yet.
    """
    place = Place("publish", None, "family")
    page_step = plan.steps.get(plan.places.get(place, ""))
    if page_step is None or page_step.method != "hub":
        raise UsageError("this family is not published to the Hub", next="write 'to: hub' under publish in its file")
    params = page_step.params
    if not is_version(version := str(params["version"])):
        raise UsageError(f"version {version} cannot be the name of a tag", next="write a version such as 1.2.0")
    page, refused = _laid_out(plan, store, place), dict(_refused(plan, store))
    wanted = [it for it in plan.places if it.stage == "publish" and it.variant and _repo(plan, it) not in refused]
    repos = [_repo_of(_repo(plan, it), _laid_out(plan, store, it)) for it in wanted]
    return Desired(
        family=str(params["family"]),
        version=version,
        channel=params["channel"],
        visibility=params["visibility"],
        gated=params["gated"],
        repos={repo.repo: repo for repo in repos},
        index=_index_of(page),
        refused=refused,
        collection=_collection_of(page.facts.get("collection")),
        lock=lock_digest(lock) if lock else "",
        tools={"variantforge": metadata.version("variantforge"), **tools()},
    )


def _repo(plan: Plan, place: Place) -> str:
    return str(plan.steps[plan.places[place]].params["repo"])


def _refused(plan: Plan, store: Store) -> Iterator[tuple[str, str]]:
    """Repos whose card says that a gate refused them; they have nothing laid out."""
    for place in plan.places:
        if place.stage == "publish" and place.variant:
            card = store.find(plan.steps[plan.places[Place("card", place.variant, place.name)]])
            if card is not None and card.refusal:
                yield _repo(plan, place), card.refusal[:_REASON]


def _laid_out(plan: Plan, store: Store, place: Place) -> Artifact:
    artifact = store.find(plan.steps[plan.places[place]])
    if artifact is None:
        raise PublishError(
            f"nothing can be released: {place} is not done",
            why="A release holds every repo of the family that no gate refused, or is not made at all.",
            next="vf apply   # for the whole family, without --only and --until",
        )
    return artifact


def _repo_of(repo: str, artifact: Artifact) -> DesiredRepo:
    """The digests are those of variantforge.json, which is what other machines will go by."""
    folder = artifact.path / REPO
    data = (folder / LINEAGE).read_bytes()
    lineage = parse_lineage(data, str(folder / LINEAGE))
    files = {path: File(folder / path, digest.sha256, digest.size_bytes) for path, digest in lineage.files.items()}
    card = text_digest(managed((folder / PAGE).read_text()))
    if lineage.repo != repo or PAGE not in files or files[PAGE].sha256 != card:
        raise PublishError(f"{folder} does not hold {repo} as {LINEAGE} describes it", next=f"rm -r {artifact.path}")
    return DesiredRepo(repo, {**files, LINEAGE: File(folder / LINEAGE, text_digest(data.decode()), len(data))})


def _index_of(page: Artifact) -> DesiredRepo:
    folder = page.path / REPO
    files = {}
    for path in page.facts["files"]:
        text = (folder / path).read_text()
        files[path] = File(folder / path, text_digest(managed(text) if path == PAGE else text), len(text.encode()))
    return DesiredRepo(str(page.facts["repo"]), files)


def _collection_of(facts: Mapping[str, Any] | None) -> CollectionRecord | None:
    if not facts:
        return None
    items = tuple(Item(item["repo"], item.get("note", "")) for item in facts["items"])
    collection = CollectionRecord(facts["title"], facts.get("description", ""), items)
    texts = [("description", collection.description, _DESCRIPTION), *(("note", item.note, _NOTE) for item in items)]
    for what, text, most in texts:
        if len(text) > most:
            raise UsageError(
                f"a {what} in the collection {collection.title!r} has {len(text)} letters; the Hub takes {most}",
                why=text,
                next="shorten 'description' of the family or of that variant in the family file",
            )
    return collection
