"""Which record a release would write, and from where its content comes: plan a release, or plan to restore one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from variantforge.errors import GateFailed, IntegrityError, UsageError
from variantforge.hashing import text_digest
from variantforge.release.changes import Changes, changes_of
from variantforge.release.desired import Desired, DesiredRepo
from variantforge.release.hub import Hub
from variantforge.release.observed import Observed, observe
from variantforge.release.parallel import each
from variantforge.release.record import RELEASE, Channel, Index, Record, Released, parse_record, tag_of
from variantforge.release.refusals import refuse_foreign, refuse_taken, refuse_taken_back
from variantforge.release.snapshot import Snapshots
from variantforge.release.versions import is_newer
from variantforge.stages.card.managed import managed
from variantforge.stages.card.repos import PAGE

NOT_YET = "0" * 40  # the commit of a repo that will be staged


@dataclass(frozen=True)
class ReleasePlan:
    """``record``: what release.json will say; repos in ``staged`` have no commit yet. ``page``: the other files of
    the index repo. ``observed``: what all this was decided from."""

    record: Record
    staged: Mapping[str, DesiredRepo]
    page: Mapping[str, bytes]
    observed: Observed
    snapshots: Snapshots = field(compare=False, repr=False)

    @property
    def before(self) -> Record | None:
        return self.observed.record

    @cached_property
    def changes(self) -> Changes:
        return changes_of(self.record, self.staged, self.page, self.observed)

    @property
    def nothing_to_do(self) -> bool:
        return self.changes.nothing

    @property
    def commits(self) -> int:
        """Commits that will be made: one to stage a repo, one to bring its branch there, one of release.json."""
        moving = [change.repo for change in self.changes.repos if change.action.word != "unchanged"]
        index = self.changes.record or bool(self.changes.page)
        return len(self.staged) + sum(map(self._has_branch, moving)) + index

    @property
    def upload_bytes(self) -> int:
        return self.changes.upload_bytes

    def _has_branch(self, repo: str) -> bool:
        """A branch that is not there is made at the commit, without another one; main is there in every repo."""
        there = self.observed.repos.get(repo)
        return there.on_channel if there else self.record.channel == "stable"


def plan_release(desired: Desired, hub: Hub, *, adopt: Collection[str] = ()) -> ReleasePlan:
    """What it would take to make the Hub hold what is desired; writes nothing.

    ``adopt``: repos that exist, are not ours, and may be taken over with their files kept. Raises UsageError for a
    version that is released already with other content or was taken back, Refused for a repo of somebody else.
    """
    snapshots = Snapshots(hub)
    observed = observe(
        hub,
        desired.index.repo,
        desired.channel,
        snapshots,
        repos=[*desired.repos, *desired.refused],
        version=desired.version,
        collection=desired.collection.title if desired.collection else "",
    )
    refuse_foreign(desired, observed, adopt)
    record = _wished(desired, observed, snapshots)
    refuse_taken_back(record, hub, observed)
    parse_record(record.text.encode(), f"the {RELEASE} that would be written")  # never one that we could not read back
    staged = {repo: desired.repos[repo] for repo, released in record.repos.items() if released.commit == NOT_YET}
    page = {path: file.path.read_bytes() for path, file in desired.index.files.items()}
    return ReleasePlan(record, staged, page, observed, snapshots)


def plan_restore(hub: Hub, index_repo: str, version: str, channel: Channel) -> ReleasePlan:
    """A release whose content is that of an earlier one: a rollback, or the promotion of a candidate.

    Nothing is uploaded: the commits that the earlier release.json names hold all. Raises UsageError when the version
    was never released, IntegrityError when a commit it names is gone or holds something else.
    """
    snapshots = Snapshots(hub)
    observed = observe(hub, index_repo, channel, snapshots, version=version)
    source = observed.released_as(version)
    if source is None:
        raise _never_released(index_repo, version, observed)
    each(lambda repo: _check_commit(source, repo, snapshots), source.repos)
    return ReleasePlan(_restored(source, observed), {}, page_of(hub, source, observed), observed, snapshots)


def _restored(source: Record, observed: Observed) -> Record:
    """The content of a release as the next one of the channel.

    A newer one (a candidate that is promoted) brings its settings. Going back keeps those of now: it must not open
    what was closed since.
    """
    current = observed.record
    record = replace(source, channel=observed.channel)
    if current is None:
        return replace(record, before="", supersedes="")
    if current.version == source.version:
        return current
    if not is_newer(source.version, current.version):
        record = replace(record, visibility=current.visibility, gated=current.gated)
    return replace(record, before=current.id, supersedes=current.version)


def _wished(desired: Desired, observed: Observed, snapshots: Snapshots) -> Record:
    """The record to write. Raises UsageError, or GateFailed when every repo was refused."""
    current, known = observed.record, observed.released_as(desired.version)
    kept = {repo: _kept(repo, reason, known or current) for repo, reason in desired.refused.items()}
    repos = {repo: released for repo, released in kept.items() if released}
    repos |= {repo: _content(it, desired.version, observed, snapshots) for repo, it in desired.repos.items()}
    if not repos:
        raise GateFailed("nothing can be released: a gate refused every repo", why="\n".join(desired.refused.values()))
    wished = Record(
        family=desired.family,
        version=desired.version,
        channel=desired.channel,
        index=Index(desired.index.repo, {path: file.sha256 for path, file in desired.index.files.items()}),
        repos=dict(sorted(repos.items())),
        withheld={repo: desired.refused[repo] for repo, released in kept.items() if not released},
        collection=desired.collection,
        visibility=desired.visibility,
        gated=desired.gated,
        lock=desired.lock,
        tools=desired.tools,
    )
    refuse_taken(wished, known, observed)
    if current is not None and current.version == wished.version:
        same = replace(wished, before=current.before, supersedes=current.supersedes)
        return replace(same, lock=current.lock, tools=current.tools)
    replaced = current.version if current and known else ""
    return replace(wished, before=current.id if current else "", supersedes=replaced)


def _kept(repo: str, reason: str, source: Record | None) -> Released | None:
    """What a refused repo was released with before; None: never."""
    released = source.repos.get(repo) if source else None
    return replace(released, refused=reason) if released else None


def _content(wanted: DesiredRepo, version: str, observed: Observed, snapshots: Snapshots) -> Released:
    """The commit in which some release has this very content; NOT_YET where there is none, or it is gone."""
    known = observed.released_as(version)
    for record in (known, observed.record, *observed.records.values()):
        released = record.repos.get(wanted.repo) if record else None
        if released and released.tree == wanted.tree and _stands(wanted.repo, released, snapshots):
            return replace(released, refused="")
    return Released(NOT_YET, wanted.tree, since=version)


def _stands(repo: str, released: Released, snapshots: Snapshots) -> bool:
    there = snapshots.find(repo, released.commit)
    return there is not None and there.tree == released.tree


def _check_commit(source: Record, repo: str, snapshots: Snapshots) -> None:
    if not _stands(repo, source.repos[repo], snapshots):
        raise IntegrityError(
            f"{source.version} cannot be restored: {repo} no longer holds its commit {source.repos[repo].commit[:12]}",
            why="The repo was deleted, or its history was rewritten.",
            next=f"release its content anew: check out the family file of {source.version}, then vf apply",
        )


def page_of(hub: Hub, source: Record, observed: Observed) -> dict[str, bytes]:
    """The family page as it was released; what people wrote around it is taken from where it goes."""
    assert observed.index is not None  # it holds the record that was found
    refs = observed.index.remote
    revision = refs.tags.get(source.tag) or refs.branches[source.branch]
    page = {}
    for path, digest in source.index.files.items():
        text = hub.read(source.index.repo, revision, path).decode(errors="replace")
        page[path] = (managed(text) if path == PAGE else text).encode()
        if text_digest(page[path].decode()) != digest:
            raise IntegrityError(
                f"{path} of {source.index.repo} at {source.tag} is not what {source.version} released",
                next=f"look at {hub.page(source.index.repo)}/commits/{source.branch}",
            )
    return page


def _never_released(index_repo: str, version: str, observed: Observed) -> UsageError:
    if version in observed.versions:
        return UsageError(
            f"the tag {tag_of(version)} of {index_repo} points at no release of that version",
            why="Somebody moved it, or set it.",
            next=f"set it back on the Hub to the commit 'Release … {version}', then run the same command again",
        )
    known = sorted({*observed.versions, *(record.version for record in observed.records.values())})
    return UsageError(f"{index_repo} has no release {version}", why=f"Released are: {', '.join(known) or 'none'}.")
