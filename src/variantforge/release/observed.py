"""What the Hub holds: the releases that the index repo names, and every repo beside what its release says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from variantforge.errors import IntegrityError, NotOnHub
from variantforge.release.hub import Commit, Hub, RemoteCollection, RemoteRepo
from variantforge.release.parallel import each
from variantforge.release.record import (
    CHANNELS,
    RELEASE,
    Channel,
    Record,
    Trailer,
    branch_of,
    parse_record,
    tag_of,
)
from variantforge.release.snapshot import NO_DIFFERENCE, Difference, Snapshot, Snapshots, difference

_LOOK_BACK = 50  # commits of others that are told by name


@dataclass(frozen=True)
class ObservedRepo:
    """``head`` is the channel's branch, or main where the channel has none yet (``on_channel`` False).

    ``released`` is the revision that the channel's release names, ``drift`` how the channel's branch differs from it,
    and ``by`` the commits that others have put on top of our last one, newest first. ``behind``: the branch has never
    been brought to the release (the release was interrupted there).
    """

    remote: RemoteRepo
    head: Snapshot | None
    on_channel: bool
    released: Snapshot | None = None
    drift: Difference = NO_DIFFERENCE
    by: tuple[Commit, ...] = ()
    behind: bool = False

    @property
    def foreign(self) -> tuple[str, ...]:
        """Files on the branch that are not managed."""
        ours = self.released.managed_paths if self.released else frozenset()
        return self.head.foreign(ours | self.head.managed_paths) if self.head else ()

    @property
    def tags(self) -> Mapping[str, str]:
        return self.remote.tags


@dataclass(frozen=True)
class Observed:
    """``records``: the release that each channel is at. ``versions``: every version that the index has a tag of;
    ``tagged``: the release.json at one tag that was asked for (None: no release of ours stands there). ``spoilt``: how
    somebody changed this channel's release.json, as a clause; its record is nevertheless the one that we wrote last."""

    index_repo: str
    channel: Channel
    index: ObservedRepo | None
    records: Mapping[Channel, Record]
    repos: Mapping[str, ObservedRepo | None]
    versions: frozenset[str] = frozenset()
    tagged: Record | None = None
    collection: RemoteCollection | None = None
    spoilt: str = ""

    @property
    def record(self) -> Record | None:
        """The release that the channel is at."""
        return self.records.get(self.channel)

    @property
    def arranges_collection(self) -> bool:
        """Whether the collection is this channel's to arrange: it is for those who follow ``main``, so a candidate
        leaves it alone where something stable stands."""
        return self.channel == "stable" or "stable" not in self.records

    def released_as(self, version: str) -> Record | None:
        """The release of a version, wherever it stands."""
        named = [record for record in self.records.values() if record.version == version]
        mine = [record for record in named if record.channel == self.channel]
        return next(iter([*mine, *named]), self.tagged)


@dataclass(frozen=True)
class Standing:
    """What release.json of a channel says, as we wrote it; ``spoilt``: how it was changed since, as a clause."""

    record: Record | None
    spoilt: str = ""


def observe(
    hub: Hub,
    index_repo: str,
    channel: Channel,
    snapshots: Snapshots,
    *,
    repos: Iterable[str] = (),
    version: str = "",
    collection: str = "",
) -> Observed:
    """Looks at the index repo, then at all repos at once: those of ``repos`` and those that the release names.

    ``version``: look up how it was released. ``collection``: title of the collection to look at.
    Raises HubError, and IntegrityError where release.json was made unreadable.
    """
    remote = hub.repo(index_repo)
    stand = _standing(hub, remote) if remote else {}
    records = {name: found.record for name, found in stand.items() if found.record}
    record = records.get(channel)
    tagged = _tagged(hub, remote, version, records.values()) if remote and version else None
    named = [found for found in (tagged, *records.values()) if found and (found is record or found.version == version)]
    names = dict.fromkeys([*repos, *(repo for found in named for repo in found.repos)])
    seen = each(lambda repo: _look(hub, snapshots, repo, channel, record), names)
    title = collection or (record.collection.title if record and record.collection else "")
    return Observed(
        index_repo=index_repo,
        channel=channel,
        index=_index(snapshots, remote, channel) if remote else None,
        records=records,
        repos=dict(zip(names, seen, strict=True)),
        versions=frozenset(tag.removeprefix("v") for tag in (remote.tags if remote else ()) if tag.startswith("v")),
        tagged=tagged,
        collection=hub.collections.find(index_repo.partition("/")[0], title) if title else None,
        spoilt=stand[channel].spoilt if channel in stand else "",
    )


def read_record(hub: Hub, index_repo: str, revision: str) -> Record | None:
    """The release.json of a revision; None when there is none. Raises IntegrityError when it cannot be read."""
    try:
        data = hub.read(index_repo, revision, RELEASE)
    except NotOnHub:
        return None
    record = parse_record(data, f"{RELEASE} of {index_repo} at {revision[:12]}")
    if record.index.repo != index_repo:
        raise IntegrityError(
            f"{RELEASE} of {index_repo} is that of {record.index.repo}",
            why="The repo was renamed, or is a copy.",
            next=f"release from {record.index.repo}, or take {RELEASE} away there to begin anew",
        )
    return record


def standing(hub: Hub, index_repo: str, head: str, channel: Channel) -> Standing:
    """The release that a channel is at, by our last commit on it; what others wrote on top is told, not believed.

    Raises IntegrityError where release.json is not readable, and no commit of ours is found under it.
    """
    ours = _last_of(channel, hub.history(index_repo, head, _LOOK_BACK))
    if ours is None:
        return Standing(_of_channel(read_record(hub, index_repo, head), channel))
    record = _of_channel(read_record(hub, index_repo, ours), channel)
    if ours == head:
        return Standing(record)
    try:
        now = _of_channel(read_record(hub, index_repo, head), channel)
    except IntegrityError as error:
        return Standing(record, error.what)
    return Standing(record, "" if now == record else f"{RELEASE} was {'edited' if now else 'deleted'}")


def _last_of(channel: Channel, history: Iterable[Commit]) -> str | None:
    found = ((commit.oid, Trailer.find(commit.message)) for commit in history)
    return next((oid for oid, trailer in found if trailer and trailer.release.startswith(f"{channel}-")), None)


def _of_channel(record: Record | None, channel: Channel) -> Record | None:
    """A new channel begins as a copy of main: what it says is not yet its own."""
    return record if record and record.channel == channel else None


def _standing(hub: Hub, remote: RemoteRepo) -> dict[Channel, Standing]:
    heads = {channel: remote.branches.get(branch_of(channel)) for channel in CHANNELS}
    return {channel: standing(hub, remote.id, head, channel) for channel, head in heads.items() if head}


def _tagged(hub: Hub, remote: RemoteRepo, version: str, known: Iterable[Record]) -> Record | None:
    oid = remote.tags.get(tag_of(version))
    if oid is None or any(record.version == version for record in known):
        return None
    record = read_record(hub, remote.id, oid)
    return record if record and record.version == version else None  # somebody may have moved the tag


def _index(snapshots: Snapshots, remote: RemoteRepo, channel: Channel) -> ObservedRepo:
    head, on_channel = _head(remote, channel)
    return ObservedRepo(remote, snapshots.at(remote.id, head) if head else None, on_channel)


def _head(remote: RemoteRepo, channel: Channel) -> tuple[str | None, bool]:
    own = remote.branches.get(branch_of(channel))
    return own or remote.branches.get("main"), own is not None


def _look(hub: Hub, snapshots: Snapshots, repo: str, channel: Channel, record: Record | None) -> ObservedRepo | None:
    remote = hub.repo(repo)
    if remote is None:
        return None
    oid, on_channel = _head(remote, channel)
    head = snapshots.at(repo, oid) if oid else None
    released = snapshots.find(repo, record.repos[repo].commit) if record and repo in record.repos else None
    if record is None or released is None or head is None:
        return ObservedRepo(remote, head, on_channel, released)
    if not on_channel:
        return ObservedRepo(remote, head, on_channel, released, behind=True)
    drift = difference(released, head)
    if not drift:
        return ObservedRepo(remote, head, on_channel, released)
    by, last = _since_ours(hub, repo, head.oid)
    behind = last is None or last.tree != record.repos[repo].tree
    return ObservedRepo(remote, head, on_channel, released, drift, by, behind)


def _since_ours(hub: Hub, repo: str, oid: str) -> tuple[tuple[Commit, ...], Trailer | None]:
    """The commits that others have put on top of our last one, and our last one's trailer."""
    others: list[Commit] = []
    for commit in hub.history(repo, oid, _LOOK_BACK):
        if trailer := Trailer.find(commit.message):
            return tuple(others), trailer
        others.append(commit)
    return tuple(others), None
