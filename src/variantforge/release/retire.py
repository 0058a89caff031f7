"""Sending the readers of a repo to the one that takes its place. Nothing is deleted; the release stays what it was.

``new_version`` in the front matter is a key of people's, not of ours: no digest covers it, so a retired repo is no
drift, and later releases carry the key over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from variantforge.errors import HubError, MovedHead, NotOnHub, UsageError
from variantforge.release.hub import Commit, Hub, RemoteRepo
from variantforge.release.record import Record
from variantforge.release.snapshot import Snapshot, Snapshots
from variantforge.stages.card.managed import new_version, with_new_version, without_new_version
from variantforge.stages.card.repos import PAGE

TRAILER = "Variantforge-Retire"
_TRIES = 5
_CHAIN = 10  # repos that a banner may lead through


@dataclass(frozen=True)
class Retirement:
    """``text``: the README.md to be. ``other``: where it sends readers ('' for an undoing). ``before``: where it sends
    them now ('' nowhere). ``family``: whose repo it is, where it says so."""

    repo: str
    other: str
    before: str
    family: str
    text: str
    parent: str

    @property
    def nothing_to_do(self) -> bool:
        return self.other == self.before

    @property
    def word(self) -> Literal["retire", "bring back"]:
        return "retire" if self.other else "bring back"


def is_retirement(commit: Commit) -> bool:
    return any(line.startswith(f"{TRAILER}: ") for line in commit.message.splitlines())


def plan_retirement(hub: Hub, repo: str, other: str) -> Retirement:
    """What would be written; ``other`` '' takes the banner away.

    Raises NotOnHub for a repo (or a successor) that is not there, UsageError for a circle.
    """
    remote = _existing(hub, repo)
    if other:
        _check_successor(hub, repo, other)
    head = _main(hub, remote)
    page = head.readme or ""
    text = with_new_version(page, other) if other else without_new_version(page)
    family = head.lineage.family if head.lineage else ""
    return Retirement(repo, other, new_version(page) or "", family, text, head.oid)


def retire(plan: Retirement, hub: Hub) -> str:
    """One commit on main with that key changed and all else kept; its oid (the head's where there is nothing to do).

    Raises MovedHead when others write there all the time.
    """
    for _ in range(_TRIES):
        if plan.nothing_to_do:
            return plan.parent
        trailer = f"{TRAILER}: {plan.other or 'undone'} {plan.parent}"
        message = f"Retire in favour of {plan.other}" if plan.other else "No longer retired"
        files = {PAGE: plan.text.encode()}
        try:
            return hub.commit(plan.repo, "main", files, message=message, parent=plan.parent, trailer=trailer)
        except MovedHead:
            plan = plan_retirement(hub, plan.repo, plan.other)
    raise MovedHead(f"main of {plan.repo} does not hold still", next="run the same command again")


def successor_in(record: Record, hub: Hub, repo: str) -> str:
    """The repo of a release with the variant and the form of ``repo``. Raises UsageError when there is no one other."""
    snapshots = Snapshots(hub)
    mine = _described(_main(hub, _existing(hub, repo)))
    found = [
        other
        for other, released in record.repos.items()
        if other != repo and mine and _described(snapshots.at(other, released.commit)) == mine
    ]
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"the release {record.version} has no other repo that clearly takes the place of {repo}",
        why=f"Its repos are: {', '.join(record.repos)}.",
        next=f"vf retire {repo} --new-version {next(iter(record.repos), 'OTHER')}",
    )


def _described(head: Snapshot) -> tuple[str, str] | None:
    more = head.lineage.more if head.lineage else {}
    return (str(more["variant"]), str(more["form"])) if {"variant", "form"} <= more.keys() else None


def _existing(hub: Hub, repo: str) -> RemoteRepo:
    remote = hub.repo(repo)
    if remote is None:
        raise NotOnHub(f"there is no {repo}, or it is hidden from this token", next=f"look at {hub.page(repo)}")
    return remote


def _main(hub: Hub, remote: RemoteRepo) -> Snapshot:
    if (oid := remote.branches.get("main")) is None:
        raise HubError(f"{remote.id} has no branch main", next=f"look at {hub.page(remote.id)}")
    return Snapshots(hub).at(remote.id, oid)


def _check_successor(hub: Hub, repo: str, other: str) -> None:
    """It must be there, and must not lead back here: the Hub's banner follows the chain."""
    chain = [repo]
    while other and len(chain) < _CHAIN:
        chain.append(other)
        if other == repo:
            raise UsageError(
                f"{repo} cannot be retired in favour of {chain[1]}: that leads back to it",
                why=" → ".join(chain),
                next=f"vf retire {chain[-2]} --undo" if len(chain) > 2 else "name another repo with --new-version",
            )
        remote = hub.repo(other)
        if remote is None and len(chain) > 2:
            return  # an older banner leads nowhere: not ours to mend
        head = _main(hub, _existing(hub, other))
        other = new_version(head.readme or "") or ""
