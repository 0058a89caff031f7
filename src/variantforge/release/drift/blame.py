"""Which commit of somebody else changed a file: the trees of the commits on top of our last one, compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from variantforge.release.hub import Commit, Hub
from variantforge.release.parallel import each
from variantforge.release.record import Channel, Trailer
from variantforge.release.snapshot import Snapshots
from variantforge.stages.card.repos import PAGE

_MOST = 20  # commits that are looked into; further back nobody is named
_LOOK_BACK = 100


def others_on_top(hub: Hub, repo: str, oid: str, channel: Channel | None = None) -> tuple[tuple[Commit, ...], str]:
    """The commits that others have put on top of our last one, newest first, and our last one ('' when none is found).

    ``channel``: only releases of that channel count as ours.
    """
    others: list[Commit] = []
    for commit in hub.history(repo, oid, _LOOK_BACK):
        trailer = Trailer.find(commit.message)
        if trailer and (channel is None or trailer.release.startswith(f"{channel}-")):
            return tuple(others), commit.oid
        others.append(commit)
    return tuple(others), ""


class Blame:
    """Of one repo. ``commits``: those of others, newest first; ``base``: our commit under them ('' when it is gone)."""

    def __init__(self, hub: Hub, snapshots: Snapshots, repo: str, commits: Sequence[Commit], base: str) -> None:
        self._snapshots, self._repo, self.commits = snapshots, repo, list(commits[:_MOST])
        whole = base and len(commits) <= _MOST
        oids = [commit.oid for commit in self.commits] + ([base] if whole else [])
        self._oids = oids
        self._trees = each(lambda oid: {path: it.git_oid for path, it in hub.tree(repo, oid).items()}, oids)

    def of(self, path: str) -> Commit | None:
        """The newest commit that changed, added or took away the file; of README.md, its managed part."""
        touched = [
            (commit, place)
            for place, commit in enumerate(self.commits[: len(self._trees) - 1])
            if self._trees[place].get(path) != self._trees[place + 1].get(path)
        ]
        if path == PAGE and len(touched) > 1:
            touched = [(commit, place) for commit, place in touched if self._card(place) != self._card(place + 1)]
        return touched[0][0] if touched else None

    def newest(self) -> Commit | None:
        return self.commits[0] if self.commits else None

    def _card(self, place: int) -> str:
        return self._snapshots.at(self._repo, self._oids[place]).card


def names(commits: Iterable[Commit]) -> str:
    """Who made them, each once."""
    return ", ".join(dict.fromkeys(commit.author for commit in commits if commit.author))
