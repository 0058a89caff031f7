"""Phase 5, tidy: the collection, and the staging branches."""

from __future__ import annotations

from collections.abc import Iterable

from variantforge.release.changes import collection_changes, items_of
from variantforge.release.hub import CollectionItem
from variantforge.release.observed import Observed
from variantforge.release.parallel import each
from variantforge.release.record import STAGING, Record
from variantforge.release.stage import staging_branch
from variantforge.release.work import Work


def tidy(work: Work, record: Record, stale: Iterable[tuple[str, str]] = (), *, arrange: bool) -> None:
    """``stale``: (repo, branch) of releases that this one has overtaken. ``arrange``: the collection is its, too."""
    work.enter(record, "tidy", 0)
    own = [(repo, staging_branch(record)) for repo in record.repos]
    each(lambda it: work.hub.delete_branch(*it), dict.fromkeys([*own, *stale]))
    if arrange:
        arrange_collection(work, record)


def stale_branches(seen: Observed) -> list[tuple[str, str]]:
    """Staging branches of this channel as they were before a release was decided: none of them can win any more."""
    mine = f"{STAGING}{seen.channel}-"
    return [
        (repo, branch)
        for repo, there in seen.repos.items()
        if there
        for branch in there.remote.branches
        if branch.startswith(mine)
    ]


def arrange_collection(work: Work, record: Record) -> None:
    """Makes the collection what the release says. Items that people added stay, behind ours."""
    wanted, collections = record.collection, work.hub.collections
    if wanted is None:
        return
    namespace, private = record.index.repo.partition("/")[0], record.visibility == "private"
    there = collections.find(namespace, wanted.title)
    if there is None:
        there = collections.create(namespace, wanted.title, description=wanted.description, private=private)
    if any(collection_changes(record, there)):
        if there.description != wanted.description or there.private != private:
            collections.update(there.slug, description=wanted.description, private=private)
        collections.arrange(there.slug, [CollectionItem(item.repo, item.note) for item in items_of(record)])
