"""How the index repo differs: release.json itself, the family page, the version's tag, and the collection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from variantforge.errors import IntegrityError, NotOnHub, UsageError
from variantforge.hashing import bytes_digest
from variantforge.release.changes import items_of
from variantforge.release.drift.blame import Blame, names, others_on_top
from variantforge.release.drift.finding import APPLY, Finding, told_by
from variantforge.release.drift.repos import Look, moved_tag_back, settings_of_index
from variantforge.release.hub import Commit, Hub, RemoteCollection
from variantforge.release.observed import Observed, read_record
from variantforge.release.record import RELEASE, Channel, Record
from variantforge.stages.card.managed import managed, new_version
from variantforge.stages.card.repos import PAGE


@dataclass(frozen=True)
class IndexLook:
    """``by``: what others have put on top of our last commit, newest first; ``base``: that commit, '' where it is gone.
    ``findings``: of release.json."""

    head: str
    by: tuple[Commit, ...]
    base: str
    findings: tuple[Finding, ...]


def look_at_index(look: Look) -> IndexLook:
    index = look.seen.index
    assert index is not None  # it holds the release that was found
    repo, head = look.record.index.repo, index.remote.branches[look.record.branch]
    by, base = others_on_top(look.hub, repo, head, look.record.channel)
    made = Blame(look.hub, look.snapshots, repo, by, base).of(RELEASE) if look.seen.spoilt else None
    return IndexLook(head, by, base, tuple(_of_record(look, head, made)))


def no_release(hub: Hub, index_repo: str, channel: Channel, seen: Observed) -> UsageError:
    if seen.index is None:
        what = f"there is no {index_repo}, or it is hidden from this token"
        return UsageError(what, next="name the index repo with --index ORG/NAME, or release the family: vf apply")
    return UsageError(f"nothing was released on the channel {channel} of {index_repo}", next="vf apply")


def _of_record(look: Look, head: str, made: Commit | None) -> Iterator[Finding]:
    """release.json as others left it; ``look.record`` is what we wrote."""
    spoilt, repo = look.seen.spoilt, look.record.index.repo
    if not spoilt:
        return
    try:
        current = read_record(look.hub, repo, head)
    except IntegrityError as error:
        yield Finding("record_unreadable", repo, error.what, (RELEASE,), next=APPLY, **told_by(made))
        return
    if current is None:
        yield Finding("record_deleted", repo, f"{RELEASE} was deleted", (RELEASE,), next=APPLY, **told_by(made))
    else:
        what = f"{RELEASE} was edited: {', '.join(_edited(look.record, current))}"
        yield Finding("record_edited", repo, what, (RELEASE,), next=APPLY, **told_by(made))


def _edited(released: Record, current: Record) -> list[str]:
    named = [name for name in Record.__dataclass_fields__ if getattr(released, name) != getattr(current, name)]
    if "repos" not in named:
        return named
    repos = {**released.repos, **current.repos}
    changed = [repo for repo in sorted(repos) if released.repos.get(repo) != current.repos.get(repo)]
    return [*(name for name in named if name != "repos"), *changed]


def index_findings(look: Look, index: IndexLook) -> Iterator[Finding]:
    yield from index.findings
    yield from _page(look, index)
    yield from settings_of_index(look)
    yield from _tag(look)
    if index.by and not index.findings:
        count, newest = len(index.by), index.by[0]
        what = f"{count} commit{'s' * (count != 1)} of others on {look.record.branch}: {newest.title!r}"
        yield Finding("moved_branch", look.record.index.repo, what, who=names(index.by), since=newest.date)


def _page(look: Look, index: IndexLook) -> Iterator[Finding]:
    """The files of the index repo that are ours, beside release.json."""
    repo, head = look.record.index.repo, look.snapshots.at(look.record.index.repo, index.head)
    blame: Blame | None = None
    for path, digest in look.record.index.files.items():
        if path in head.files and _digest(look, repo, index.head, path) == digest:
            continue
        blame = blame or Blame(look.hub, look.snapshots, repo, index.by, index.base)
        made = told_by(blame.of(path))
        if path not in head.files:
            yield Finding("deleted_file", repo, f"{path} was deleted", (path,), next=APPLY, **made)
        elif path == PAGE:
            yield Finding("edited_card", repo, "our part of README.md was edited", (path,), next=APPLY, **made)
        else:
            yield Finding("changed_file", repo, f"{path} was edited", (path,), next=APPLY, **made)
    foreign = head.foreign(frozenset({RELEASE, *look.record.index.files}))
    if foreign:
        yield Finding("foreign_file", repo, f"holds files of other people: {', '.join(foreign)}", foreign)
    if other := new_version(head.readme or ""):
        yield Finding("retired", repo, f"sends its readers to {other}", next=f"vf retire {repo} --undo")
    elif head.readme and head.card == look.record.index.files.get(PAGE) and managed(head.readme) != head.readme:
        yield Finding("people_text", repo, "people have added to the page; it is kept", (PAGE,))


def _digest(look: Look, repo: str, oid: str, path: str) -> str:
    if path == PAGE:
        return look.snapshots.at(repo, oid).card
    try:
        return bytes_digest(look.hub.read(repo, oid, path))
    except (NotOnHub, IntegrityError):
        return ""


def _tag(look: Look) -> Iterator[Finding]:
    """The version's tag on the index must hold this release, though another channel may have set it first."""
    record, index = look.record, look.seen.index
    at = index.tags.get(record.tag) if index else None
    if at is None:
        yield Finding("missing_tag", record.index.repo, f"has no tag {record.tag}", next=APPLY)
        return
    try:
        tagged = read_record(look.hub, record.index.repo, at)
    except IntegrityError:
        tagged = None
    if tagged is None or tagged.version != record.version or not tagged.same_content(record):
        what = f"{record.tag} points at {at[:12]}, where this release is not"
        next = moved_tag_back(look, record.index.repo, record.tag, "the release")
        yield Finding("moved_tag", record.index.repo, what, next=next)


def collection_findings(look: Look) -> Iterator[Finding]:
    wanted, there, record = look.record.collection, look.seen.collection, look.record
    if wanted is None or not look.seen.arranges_collection:
        return
    if there is None:
        yield _missing_collection(look, wanted.title)
        return
    if there.description != wanted.description:
        yield Finding("collection_description", "", f"the collection says {there.description!r}", next=APPLY)
    if there.private != (record.visibility == "private"):
        what = f"the collection is {'private' if there.private else 'public'}, released as {record.visibility}"
        yield Finding("collection_visibility", "", what, next=APPLY)
    yield from _items(record, there)


def _missing_collection(look: Look, title: str) -> Finding:
    """Gone, or under another title: then it still lists what ours lists first."""
    namespace = look.record.index.repo.partition("/")[0]
    first = next((item.repo for item in items_of(look.record)), look.record.index.repo)
    found = look.hub.ask(
        f"looking for the collection that lists {first}",
        lambda api: list(api.list_collections(owner=namespace, item=f"models/{first}", token=look.hub.user_token())),
    )
    if not found:
        return Finding("collection_missing", "", f"there is no collection {title!r}", next=APPLY)
    what = f"the collection {title!r} is called {found[0].title!r} now"
    return Finding(
        "collection_title", "", what, next=f"call {found[0].slug} {title!r} again, or set publish.collection"
    )


def _items(record: Record, there: RemoteCollection) -> Iterator[Finding]:
    items = items_of(record)
    listed = {item.repo: item.note for item in there.items}
    for item in items:
        if item.repo not in listed:
            yield Finding("collection_item_missing", item.repo, "is not in the collection", next=APPLY)
        elif listed[item.repo] != item.note:
            yield Finding("collection_item_note", item.repo, "has another note in the collection", next=APPLY)
    ours = [item.repo for item in items if item.repo in listed]
    if list(listed)[: len(ours)] != ours:
        yield Finding("collection_order", "", "the collection is in another order than released", next=APPLY)
    extra = [repo for repo in listed if repo not in {item.repo for item in items}]
    if extra:
        yield Finding("collection_item_extra", "", f"the collection also lists {', '.join(extra)}; they are kept")
