"""What a release would write: the wished record beside what was observed. Pure: what ``plan`` shows, ``apply`` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from variantforge.hashing import text_digest
from variantforge.release.desired import DesiredRepo
from variantforge.release.hub import Commit, RemoteCollection, same
from variantforge.release.observed import Observed, ObservedRepo
from variantforge.release.record import LINEAGE, STAGING, CollectionRecord, Item, Record
from variantforge.release.snapshot import Difference, Snapshot
from variantforge.stages.card.managed import managed
from variantforge.stages.card.repos import PAGE

_METADATA = frozenset({PAGE, LINEAGE, "LICENSE", "NOTICE"})
_METADATA_FOLDER = ".eval_results/"


@dataclass(frozen=True)
class Create:
    """A repo that is not on the Hub yet, or is there and empty."""

    files: tuple[str, ...]
    upload_bytes: int
    word: ClassVar[str] = "create"


@dataclass(frozen=True)
class Update:
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    upload_bytes: int
    word: ClassVar[str] = "update"


@dataclass(frozen=True)
class MetadataOnly(Update):
    """Cards, licences, lineage: no weight, no tokenizer, no setting."""

    word: ClassVar[str] = "metadata"


@dataclass(frozen=True)
class Unchanged:
    word: ClassVar[str] = "unchanged"


@dataclass(frozen=True)
class Drifted:
    """Somebody changed managed files on the channel's branch; the release puts them back."""

    files: Difference
    by: tuple[Commit, ...]
    word: ClassVar[str] = "drifted"


@dataclass(frozen=True)
class Unfinished:
    """The release was interrupted before it had brought the branch to the commit; no upload is left."""

    word: ClassVar[str] = "unfinished"


@dataclass(frozen=True)
class Restore:
    """The content stands on the Hub already, in a commit that another release names; no upload."""

    commit: str
    since: str
    word: ClassVar[str] = "restore"


Action = Create | Update | MetadataOnly | Unchanged | Drifted | Unfinished | Restore


@dataclass(frozen=True)
class RepoChange:
    """``drift``: what somebody changed there, whatever the action is. ``foreign``: files that are left alone.
    ``refused``: why a gate kept the content of the release before."""

    repo: str
    action: Action
    drift: Drifted | None = None
    foreign: tuple[str, ...] = ()
    refused: str = ""

    @property
    def upload_bytes(self) -> int:
        return self.action.upload_bytes if isinstance(self.action, Create | Update) else 0


@dataclass(frozen=True)
class Setting:
    """``what``: visibility or gated. On a repo that is not there yet nothing is told."""

    repo: str
    what: str
    there: str
    wanted: str


@dataclass(frozen=True)
class MovedTag:
    """A version's tag that points elsewhere. It is told, never moved: people pin tags."""

    repo: str
    tag: str
    there: str
    wanted: str


@dataclass(frozen=True)
class Changes:
    """``page``: files of the index repo that are written. ``collection``: sentences. ``left``: repos of the release
    before that are no part of this one; they stay on the Hub as they are. ``record``: whether release.json is written.
    ``untidied``: repos that still have the staging branch of this release, which was interrupted at its very end.
    """

    repos: tuple[RepoChange, ...]
    settings: tuple[Setting, ...]
    missing_tags: tuple[str, ...]
    moved_tags: tuple[MovedTag, ...]
    collection: tuple[str, ...]
    page: tuple[str, ...]
    record: bool
    left: tuple[str, ...]
    untidied: tuple[str, ...] = ()

    @property
    def upload_bytes(self) -> int:
        return sum(change.upload_bytes for change in self.repos)

    @property
    def drifted(self) -> tuple[RepoChange, ...]:
        return tuple(change for change in self.repos if change.drift)

    @property
    def nothing(self) -> bool:
        """Whether the Hub is as it is wished: a release would write nothing."""
        todo = (self.settings, self.missing_tags, self.collection, self.page, self.record, self.untidied)
        return not any(todo) and all(isinstance(change.action, Unchanged) for change in self.repos)


def changes_of(record: Record, staged: Mapping[str, DesiredRepo], page: Mapping[str, bytes], seen: Observed) -> Changes:
    """``staged``: repos of which the Hub holds no commit with the wished content. ``page``: the index repo's files."""
    before = seen.record
    return Changes(
        repos=tuple(_repo_change(repo, record, staged.get(repo), seen.repos.get(repo)) for repo in record.repos),
        settings=tuple(_settings(record, seen)),
        missing_tags=tuple(_missing_tags(record, staged, seen)),
        moved_tags=tuple(_moved_tags(record, staged, seen)),
        collection=tuple(collection_changes(record, seen.collection)) if seen.arranges_collection else (),
        page=_page_changes(page, seen.index),
        record=record != before or bool(seen.spoilt),
        left=tuple(sorted(set(before.repos if before else ()) - set(record.repos))),
        untidied=tuple(_untidied(record, seen)) if record == before else (),
    )


def _repo_change(repo: str, record: Record, staged: DesiredRepo | None, seen: ObservedRepo | None) -> RepoChange:
    drift = Drifted(seen.drift, seen.by) if seen and seen.drift and not seen.behind else None
    foreign = seen.foreign if seen else ()
    released = record.repos[repo]
    action: Action
    if staged is not None:
        action = _upload(staged, seen.head if seen else None)
    elif seen and seen.released and seen.released.oid == released.commit:
        action = Unfinished() if seen.behind else drift or Unchanged()
    else:
        action = Restore(released.commit, released.since)
    return RepoChange(repo, action, drift, foreign, released.refused)


def _upload(staged: DesiredRepo, head: Snapshot | None) -> Create | Update:
    if head is None or head.is_empty:
        return Create(tuple(sorted(staged.files)), sum(file.size_bytes for file in staged.files.values()))
    differing = staged.differing(head)
    removed = tuple(sorted(head.managed_paths & set(head.files) - set(staged.files)))
    kind = MetadataOnly if all(map(_is_metadata, (*differing, *removed))) else Update
    return kind(
        added=tuple(sorted(path for path in differing if path not in head.files)),
        changed=tuple(sorted(path for path in differing if path in head.files)),
        removed=removed,
        upload_bytes=sum(file.size_bytes for file in differing.values()),
    )


def _is_metadata(path: str) -> bool:
    return path in _METADATA or path.startswith(_METADATA_FOLDER)


def _settings(record: Record, seen: Observed) -> Iterator[Setting]:
    for repo, there in _all(record, seen):
        visibility = "private" if there.remote.private else "public"
        if visibility != record.visibility:
            yield Setting(repo, "visibility", visibility, record.visibility)
        if repo != seen.index_repo and there.remote.gated != record.gated:
            yield Setting(repo, "gated", there.remote.gated, record.gated)


def _all(record: Record, seen: Observed) -> Iterator[tuple[str, ObservedRepo]]:
    """The repos that hold something already, the index repo last."""
    for repo in record.repos:
        if (there := seen.repos.get(repo)) and not (there.head and there.head.is_empty):
            yield repo, there
    if seen.index and seen.record:
        yield seen.index_repo, seen.index


def _missing_tags(record: Record, staged: Mapping[str, DesiredRepo], seen: Observed) -> Iterator[str]:
    """Repos without the version's tag; those that are staged are told as changed already."""
    for repo in record.repos:
        there = seen.repos.get(repo)
        if repo not in staged and (there is None or record.tag not in there.tags):
            yield repo
    if seen.index is None or record.tag not in seen.index.tags:
        yield seen.index_repo


def _moved_tags(record: Record, staged: Mapping[str, DesiredRepo], seen: Observed) -> Iterator[MovedTag]:
    for repo, released in record.repos.items():
        there = seen.repos.get(repo)
        at = there.tags.get(record.tag) if there else None
        if at is not None and repo not in staged and at != released.commit:
            yield MovedTag(repo, record.tag, at, released.commit)


def _untidied(record: Record, seen: Observed) -> Iterator[str]:
    for repo in record.repos:
        if (there := seen.repos.get(repo)) and f"{STAGING}{record.id}" in there.remote.branches:
            yield repo


def _page_changes(page: Mapping[str, bytes], index: ObservedRepo | None) -> tuple[str, ...]:
    head = index.head if index and index.on_channel else None
    return tuple(sorted(path for path, content in page.items() if head is None or not page_holds(head, path, content)))


def page_holds(head: Snapshot, path: str, content: bytes) -> bool:
    """Whether a file of the index repo stands there as it is wished; of README.md, its managed part."""
    if path == PAGE:
        return head.card == text_digest(managed(content.decode()))
    remote = head.files.get(path)
    return remote is not None and same(remote, content)


def items_of(record: Record) -> tuple[Item, ...]:
    """The collection's items that exist on the Hub: those of this release."""
    items = record.collection.items if record.collection else ()
    return tuple(item for item in items if item.repo in record.repos or item.repo == record.index.repo)


def collection_changes(record: Record, there: RemoteCollection | None) -> Iterator[str]:
    wanted = record.collection
    if wanted is None:
        return
    if there is None:
        yield f"create the collection {wanted.title!r} with {len(items_of(record))} repos"
        return
    yield from _described(wanted, record, there)
    listed = {item.repo: item.note for item in there.items}
    items = items_of(record)
    for item in items:
        if item.repo not in listed:
            yield f"add {item.repo}"
        elif listed[item.repo] != item.note:
            yield f"describe {item.repo}"
    ours = [item.repo for item in items if item.repo in listed]
    if [item.repo for item in there.items][: len(ours)] != ours:
        yield "put our repos first, in the order of the family"


def _described(wanted: CollectionRecord, record: Record, there: RemoteCollection) -> Iterator[str]:
    if there.description != wanted.description:
        yield "change the description"
    if there.private != (record.visibility == "private"):
        yield f"make it {record.visibility}"
