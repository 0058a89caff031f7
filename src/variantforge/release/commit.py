"""Phase 3, commit: one commit of release.json to the index repo. Nothing is visible before it, all is decided after."""

from __future__ import annotations

from collections.abc import Mapping

from variantforge.errors import HubError, MovedHead
from variantforge.release.changes import page_holds
from variantforge.release.hub import Content
from variantforge.release.observed import Standing, standing
from variantforge.release.parallel import each
from variantforge.release.planning import ReleasePlan
from variantforge.release.record import RELEASE, Record, Trailer
from variantforge.release.snapshot import Snapshot
from variantforge.release.stage import made, staging_branch
from variantforge.release.work import Work
from variantforge.stages.card.managed import compose
from variantforge.stages.card.repos import PAGE

_TRIES = 5


def commit_record(work: Work, plan: ReleasePlan, record: Record) -> Record:
    """Makes ``record`` the channel's release; returns what release.json says now.

    That is another record of the same id where another run of this same release was first. Raises MovedHead that
    names the winner where the channel went on to another release; our staging branches are taken away then.
    """
    work.enter(record, "commit", 1)
    for _ in range(_TRIES):
        head = _index_head(work, record)
        stands = standing(work.hub, record.index.repo, head, record.channel)
        now = stands.record
        if now is not None and now.id == record.id and (plan.before is None or plan.before.id != record.id):
            return now
        if (now.id if now else "") != (plan.before.id if plan.before else ""):
            raise _lost(work, plan, head, now)
        files = _files(record, stands, plan.page, work.snapshots.at(record.index.repo, head))
        if not files:
            return record
        try:
            oid = _write(work, record, head, files)
        except MovedHead:  # somebody else's commit: a card edited by hand, or another release
            continue
        work.journal.committed(record, record.index.repo, "record", oid)
        work.reporter.done("commit", record.index.repo, oid)
        return record
    raise MovedHead(f"{record.branch} of {record.index.repo} does not hold still", next="run the same command again")


def index_trailer(record: Record) -> Trailer:
    return Trailer(record.id, record.index.tree)


def check_not_lost(work: Work, plan: ReleasePlan) -> None:
    """Spares an upload that has lost its race already. Raises as ``commit_record``."""
    remote = work.hub.repo(plan.record.index.repo)
    head = remote.branches.get(plan.record.branch) if remote else None
    now = standing(work.hub, plan.record.index.repo, head, plan.record.channel).record if head else None
    if (now.id if now else "") not in (plan.before.id if plan.before else "", plan.record.id):
        raise _lost(work, plan, head or "", now)


def _index_head(work: Work, record: Record) -> str:
    """The head of the channel's branch of the index repo; both are made where they are not there."""
    repo, branch = record.index.repo, record.branch
    remote = made(work, repo)
    if branch not in remote.branches:
        work.hub.create_branch(repo, branch, "main")
    head = remote.branches.get(branch) or work.hub.head(repo, branch)
    if head is None:
        raise HubError(f"{repo} has no branch {branch} after it was made", next="run the same command again")
    return head


def _files(record: Record, stands: Standing, page: Mapping[str, bytes], there: Snapshot) -> dict[str, Content]:
    stale = stands.record != record or stands.spoilt
    files: dict[str, Content] = {RELEASE: record.text.encode()} if stale else {}
    for path, content in page.items():
        if not page_holds(there, path, content):
            files[path] = compose(content.decode(), there.readme).encode() if path == PAGE else content
    gone = (set(stands.record.index.files) if stands.record else set()) - set(record.index.files)
    return files | dict.fromkeys(gone & set(there.files))


def _write(work: Work, record: Record, head: str, files: Mapping[str, Content]) -> str:
    repo, trailer = record.index.repo, str(index_trailer(record))
    message = f"{'Release' if RELEASE in files else 'Restore the page of'} {record.family} {record.version}"
    return work.hub.commit(repo, record.branch, files, message=message, parent=head, trailer=trailer)


def _lost(work: Work, plan: ReleasePlan, head: str, winner: Record | None) -> MovedHead:
    """Takes our staging branches away, and says who won."""
    record = plan.record
    each(lambda repo: work.hub.delete_branch(repo, staging_branch(record)), plan.staged)
    work.journal.enter(record, "lost")
    history = work.hub.history(record.index.repo, head) if head else []
    author = next((made.author for made in history if Trailer.find(made.message)), "")
    won = f"{winner.version} by {author or 'somebody'}" if winner else "and it was taken away since"
    return MovedHead(
        f"another release of {record.family} was first: {won}",
        why=f"{record.version} was planned on top of {plan.before.version if plan.before else 'nothing'}. "
        "Nothing of it can be seen, and its staging branches were taken away.",
        next="vf plan   # what is still to be released on top of that",
    )
