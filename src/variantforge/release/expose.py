"""Phase 4, expose: every branch to the tree that release.json names, then settings, then tags. Rolls forward only.

It needs no byte from this machine: files are copied from the commits that release.json names. What others have
written meanwhile is kept; nothing is ever forced.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime

from variantforge.errors import HubError, IntegrityError, MovedHead
from variantforge.release.commit import index_trailer
from variantforge.release.hub import Content, CopyFrom, RemoteRepo
from variantforge.release.parallel import each
from variantforge.release.record import Record, Trailer
from variantforge.release.snapshot import Snapshot, difference
from variantforge.release.work import Work
from variantforge.stages.card.managed import compose, managed
from variantforge.stages.card.repos import PAGE

_TRIES = 5
_LOOK_BACK = 50


def expose(work: Work, record: Record) -> float:
    """Brings every repo of a decided release to it; returns the seconds for which branches disagreed.

    That is from before the first branch moved until after the last, also across a kill on the same machine.
    Raises HubError, and IntegrityError where a commit that release.json names is gone or holds something else.
    """
    interrupted = work.journal.exposing_since(record)
    work.enter(record, "expose", len(record.repos))
    remotes = dict(zip(record.repos, each(lambda repo: _there(work, repo), record.repos), strict=True))
    moves = [repo for repo in record.repos if _must_move(work, record, remotes[repo])]
    still = [remote for repo, remote in remotes.items() if repo not in moves]
    began = (interrupted or _exposed_elsewhere(work, record, still) or time.time()) if moves else 0.0
    each(lambda repo: _move(work, record, remotes[repo]), moves)
    window_s = time.time() - began if moves else 0.0
    if moves:
        work.journal.window(record, window_s)
    settle(work, record, list(remotes.values()))
    tag(work, record, [repo for repo, remote in remotes.items() if record.tag not in remote.tags])
    return window_s


def _exposed_elsewhere(work: Work, record: Record, still: Sequence[RemoteRepo]) -> float | None:
    """When another machine, which did not come to the end, moved the first branch: as the Hub dates its commit."""
    if any(record.tag in remote.tags for remote in still):  # tags come after all branches
        return None
    newest = each(lambda remote: work.hub.history(remote.id, record.branch, 1), still)
    ours = [
        made for made, remote in zip(newest, still, strict=True) if made[0].has_line(str(record.trailer(remote.id)))
    ]
    return min((datetime.fromisoformat(made[0].date).timestamp() for made in ours), default=None)


def _there(work: Work, repo: str) -> RemoteRepo:
    remote = work.hub.repo(repo)
    if remote is None:
        raise HubError(
            f"{repo} is part of this release and is not there, or is hidden from this token",
            next=f"look at {work.hub.page(repo)}; run vf apply on the machine that holds its files to make it anew",
        )
    return remote


def _target(work: Work, record: Record, repo: str) -> Snapshot:
    released = record.repos[repo]
    target = work.snapshots.at(repo, released.commit)
    if target.tree != released.tree:
        raise IntegrityError(
            f"{repo} at {released.commit[:12]} is not what release.json says it is",
            why=f"Its lineage names the tree {target.tree[:12] or 'nothing'}, the release {released.tree[:12]}.",
            next=f"look at {work.hub.page(repo)}/tree/{released.commit}",
        )
    return target


def _must_move(work: Work, record: Record, remote: RemoteRepo) -> bool:
    target, head = _target(work, record, remote.id), remote.branches.get(record.branch)
    return head is None or bool(_files(work, target, work.snapshots.at(remote.id, head)))


def _move(work: Work, record: Record, remote: RemoteRepo) -> None:
    """One commit on the channel's branch that copies the released tree; a branch that is not there is made."""
    repo, target = remote.id, _target(work, record, remote.id)
    head = remote.branches.get(record.branch)
    for _ in range(_TRIES):
        if head is None:
            work.hub.create_branch(repo, record.branch, _start(work, remote, target))
            head = work.hub.head(repo, record.branch)
        if head is None:
            raise HubError(f"{repo} has no branch {record.branch} after it was made", next="run the same command again")
        files = _files(work, target, work.snapshots.at(repo, head))
        try:
            oid = _commit(work, record, repo, head, _fetched(work, target, files)) if files else head
        except MovedHead:  # somebody writes there right now; what they wrote is kept
            head = work.hub.head(repo, record.branch)
            continue
        if files:
            work.journal.committed(record, repo, "expose", oid)
        work.reporter.done("expose", repo, oid)
        return
    raise MovedHead(f"{record.branch} of {repo} does not hold still", next="run the same command again")


def _start(work: Work, remote: RemoteRepo, target: Snapshot) -> str:
    """Where a new channel begins: at main where that holds the released tree, so people's later words are kept."""
    main = remote.branches.get("main")
    return main if main and not difference(target, work.snapshots.at(remote.id, main)) else target.oid


def _commit(work: Work, record: Record, repo: str, head: str, files: dict[str, Content]) -> str:
    message, trailer = f"{record.family} {record.version}", str(record.trailer(repo))
    return work.hub.commit(repo, record.branch, files, message=message, parent=head, trailer=trailer)


def _files(work: Work, target: Snapshot, head: Snapshot) -> dict[str, Content]:
    """What makes ``head`` hold the managed tree of ``target``; README.md keeps what people wrote there."""
    if head.oid == target.oid:
        return {}
    found = difference(target, head, _ours_before(work, head))
    files: dict[str, Content] = {path: CopyFrom(target.oid) for path in (*found.changed, *found.missing)}
    if PAGE in files:
        files[PAGE] = compose(managed(target.readme or ""), head.readme).encode()
    return files | dict.fromkeys(found.surplus)


def _fetched(work: Work, target: Snapshot, files: dict[str, Content]) -> dict[str, Content]:
    """The Hub copies large files alone: small ones are fetched and sent again, so their bytes are looked at between."""
    small = [path for path, content in files.items() if isinstance(content, CopyFrom) and not target.files[path].sha256]
    return files | {path: work.hub.read_file(target.repo, target.oid, target.files[path]) for path in small}


def _ours_before(work: Work, head: Snapshot) -> frozenset[str]:
    """What we managed on a branch whose variantforge.json was taken away or spoilt, from our last commit there."""
    if head.lineage is not None or head.is_empty:
        return frozenset()
    history = work.hub.history(head.repo, head.oid, _LOOK_BACK)
    ours = next((commit.oid for commit in history if Trailer.find(commit.message)), None)
    before = work.snapshots.find(head.repo, ours) if ours else None
    return before.managed_paths if before else frozenset()


def settle(work: Work, record: Record, remotes: Sequence[RemoteRepo]) -> None:
    """Who may read: first whether one must ask, then whether all the world sees it."""

    def one(remote: RemoteRepo) -> None:
        if remote.gated != record.gated and remote.id != record.index.repo:
            work.hub.set_gated(remote.id, record.gated)
        if remote.private != (record.visibility == "private"):
            work.hub.set_visibility(remote.id, record.visibility)

    each(one, remotes)
    one(_there(work, record.index.repo))  # last: the page links repos that can be seen by now


def tag(work: Work, record: Record, repos: Iterable[str]) -> None:
    """The version's tag on those commits of the release that lack it, and last on the index: that says all are there.

    A tag that somebody moved is left where it is, and shown by every plan.
    """
    each(lambda repo: work.hub.tag(repo, record.tag, record.repos[repo].commit), repos)
    index = work.hub.repo(record.index.repo)
    if index is not None and record.tag not in index.tags:
        work.hub.tag(index.id, record.tag, _index_commit(work, record, index.branches[record.branch]))


def _index_commit(work: Work, record: Record, head: str) -> str:
    """The commit that decided the release; people may have written on top of it."""
    trailer = str(index_trailer(record))
    history = work.hub.history(record.index.repo, head, _LOOK_BACK)
    return next((commit.oid for commit in history if commit.has_line(trailer)), head)
