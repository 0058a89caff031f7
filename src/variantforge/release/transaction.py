"""One release of many repos: stage, verify, commit, expose, tidy. Killed anywhere, it goes on from there.

Before ``commit`` nothing can be seen; after it everything is decided, and any machine can bring it to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from variantforge.errors import MovedHead, NotOnHub, UsageError
from variantforge.release.commit import check_not_lost, commit_record
from variantforge.release.expose import expose, tag
from variantforge.release.hub import Hub
from variantforge.release.journal import Releases
from variantforge.release.observed import standing
from variantforge.release.planning import ReleasePlan
from variantforge.release.record import Channel, Record, branch_of
from variantforge.release.snapshot import Snapshots
from variantforge.release.stage import stage
from variantforge.release.tidy import stale_branches, tidy
from variantforge.release.verify import verify
from variantforge.release.work import Reporter, Silent, Work


@dataclass(frozen=True)
class ReleaseReport:
    """``record``: what release.json says now. ``staged``: repo -> commit made by this run or one before it.
    ``window_s``: how long the branches disagreed; 0.0 where none had to move. ``requests``: asked of the Hub."""

    record: Record
    staged: Mapping[str, str]
    window_s: float
    requests: int
    wrote: bool


def release(
    plan: ReleasePlan,
    hub: Hub,
    journal: Releases,
    reporter: Reporter | None = None,
    stop: threading.Event | None = None,
) -> ReleaseReport:
    """Does what a plan says; a second time it writes nothing.

    Raises Interrupted when asked to stop before anything is decided, MovedHead when another release was first,
    IntegrityError when the Hub serves other bytes than were sent, and HubError. After each of them the same command
    goes on from there.
    """
    if plan.nothing_to_do:
        return ReleaseReport(plan.record, {}, 0.0, 0, wrote=False)
    requests = hub.budget.requests
    work = Work(hub, journal, plan.snapshots, reporter or Silent(), stop or threading.Event())
    staged = _prepare(work, plan)
    record = _with_commits(plan.record, staged)
    _complete_tags(work, plan)
    work.check_stop()
    hub.wait_for_room(plan.commits - len(plan.staged), f"releasing {record.family} {record.version}")
    decided = commit_record(work, plan, record)
    window_s = expose(work, decided)
    overtaken = stale_branches(plan.observed) if plan.before != decided else []
    tidy(work, decided, overtaken, arrange=plan.observed.arranges_collection)
    journal.enter(decided, "done")
    return ReleaseReport(decided, staged, window_s, hub.budget.requests - requests, wrote=True)


def resume(
    hub: Hub,
    index_repo: str,
    journal: Releases,
    channel: Channel = "stable",
    reporter: Reporter | None = None,
    stop: threading.Event | None = None,
) -> ReleaseReport:
    """Brings the release that a channel is at to its end, from release.json alone: no spec, no store, no bytes.

    Raises UsageError when nothing was released there.
    """
    requests = hub.budget.requests
    record = _standing(hub, index_repo, channel)
    if record is None:
        raise UsageError(
            f"{index_repo} has no release on its channel {channel}", next=f"look at {hub.page(index_repo)}"
        )
    work = Work(hub, journal, Snapshots(hub), reporter or Silent(), stop or threading.Event())
    window_s = expose(work, record)
    tidy(work, record, arrange=channel == "stable" or _standing(hub, index_repo, "stable") is None)
    journal.enter(record, "done")
    return ReleaseReport(record, {}, window_s, hub.budget.requests - requests, wrote=True)


def _standing(hub: Hub, index_repo: str, channel: Channel) -> Record | None:
    head = hub.head(index_repo, branch_of(channel))
    return standing(hub, index_repo, head, channel).record if head else None


def _prepare(work: Work, plan: ReleasePlan) -> dict[str, str]:
    if not plan.staged:
        return {}
    check_not_lost(work, plan)
    try:
        staged = stage(work, plan)
        verify(work, plan, staged)
    except (NotOnHub, MovedHead):
        check_not_lost(work, plan)  # a release that has won takes the staging branches of others away
        raise
    return staged


def _complete_tags(work: Work, plan: ReleasePlan) -> None:
    """Where the release before was interrupted, its tags are set while it is still the one that release.json names."""
    before, seen = plan.before, plan.observed
    if before is None or before.id == plan.record.id:
        return
    states = [(repo, seen.repos.get(repo)) for repo in before.repos]
    untagged = [repo for repo, there in states if there and before.tag not in there.tags]
    if untagged or (seen.index and before.tag not in seen.index.tags):
        tag(work, before, untagged)


def _with_commits(record: Record, staged: Mapping[str, str]) -> Record:
    repos = {
        repo: replace(released, commit=staged.get(repo, released.commit)) for repo, released in record.repos.items()
    }
    return replace(record, repos=repos)
