"""Phase 1, stage: each repo's new content in one commit on a branch of its own, where nobody looks."""

from __future__ import annotations

from variantforge.errors import HubError, MovedHead
from variantforge.release.desired import DesiredRepo
from variantforge.release.hub import Content, RemoteRepo
from variantforge.release.parallel import each
from variantforge.release.planning import ReleasePlan
from variantforge.release.record import STAGING, Record, Trailer
from variantforge.release.snapshot import Snapshot
from variantforge.release.work import Work

_UPLOADS = 4  # repos at a time; a single upload sends its files side by side already
_TRIES = 3


def staging_branch(record: Record) -> str:
    return f"{STAGING}{record.id}"


def stage(work: Work, plan: ReleasePlan) -> dict[str, str]:
    """Repo -> staged commit, for all repos that the Hub does not hold as they are wished."""
    work.enter(plan.record, "stage", len(plan.staged))

    def one(repo: str) -> str:
        work.check_stop()
        oid = _stage_repo(work, plan, plan.staged[repo])
        work.journal.committed(plan.record, repo, "stage", oid)
        work.reporter.done("stage", repo, oid)
        return oid

    return dict(zip(plan.staged, each(one, plan.staged, workers=_UPLOADS), strict=True))


def _stage_repo(work: Work, plan: ReleasePlan, wanted: DesiredRepo) -> str:
    repo, branch, trailer = wanted.repo, staging_branch(plan.record), plan.record.trailer(wanted.repo)
    for _ in range(_TRIES):
        remote = made(work, repo)
        head = remote.branches.get(branch)
        if head is None:
            head = _branched(work, remote, branch, plan.record)
        elif _carries(work, repo, head, trailer):
            return head
        there = work.snapshots.at(repo, head)
        files = _files(wanted, there, _released_paths(plan, repo))
        if not files:
            return head  # somebody has put this very content there
        message = f"Stage {plan.record.family} {plan.record.version}"
        try:
            return work.hub.commit(repo, branch, files, message=message, parent=head, trailer=str(trailer))
        except MovedHead:  # another run of this same release; look again
            continue
    raise MovedHead(f"the branch {branch} of {repo} does not hold still", next="see who else releases this family")


def made(work: Work, repo: str) -> RemoteRepo:
    """A repo as it is now; where it is not there it is created, private."""
    remote = work.hub.repo(repo)
    if remote is None:
        work.hub.create_repo(repo, private=True)
        remote = work.hub.repo(repo)
    if remote is None:
        raise HubError(f"{repo} is not there after it was created", next="run the same command again")
    return remote


def _branched(work: Work, remote: RemoteRepo, branch: str, record: Record) -> str:
    """Makes the staging branch, at the head of the channel's branch; its oid."""
    base = remote.branches.get(record.branch) or remote.branches.get("main")
    if base is None:
        raise HubError(f"{remote.id} has no branch main", next=f"look at {work.hub.page(remote.id)}")
    work.hub.create_branch(remote.id, branch, base)
    return base


def _carries(work: Work, repo: str, oid: str, trailer: Trailer) -> bool:
    """Whether a commit is the one this release stages: a run before has made it."""
    newest = work.hub.history(repo, oid, 1)
    return bool(newest) and newest[0].has_line(str(trailer))


def _released_paths(plan: ReleasePlan, repo: str) -> frozenset[str]:
    seen = plan.observed.repos.get(repo)
    return seen.released.managed_paths if seen and seen.released else frozenset()


def _files(wanted: DesiredRepo, there: Snapshot, ours_before: frozenset[str]) -> dict[str, Content]:
    """What differs is written, what we managed and no longer want is taken away, all else stays."""
    gone = ((there.managed_paths | ours_before) & set(there.files)) - set(wanted.files)
    files: dict[str, Content] = dict.fromkeys(gone)
    return files | {path: wanted.content(path, there) for path in wanted.differing(there)}
