"""One revision of one repo as the Hub holds it, and how two revisions differ in what is ours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from variantforge.errors import IntegrityError, NotOnHub
from variantforge.hashing import text_digest
from variantforge.release.hub import Hub, RemoteFile
from variantforge.release.record import LINEAGE, Lineage, parse_lineage
from variantforge.stages.card.managed import managed
from variantforge.stages.card.repos import PAGE

GIT_ATTRIBUTES = ".gitattributes"  # the Hub writes it into every repo; neither ours nor anybody's


@dataclass(frozen=True)
class Snapshot:
    """``lineage`` is None where variantforge.json is missing or was made unreadable (``unreadable`` says how)."""

    repo: str
    oid: str
    files: dict[str, RemoteFile]
    readme: str | None = None
    lineage: Lineage | None = None
    tree: str = ""  # tree digest that the lineage names, '' without one
    unreadable: str = ""

    @cached_property
    def card(self) -> str:
        """Digest of the managed part of README.md; '' when there is no README.md."""
        return "" if self.readme is None else text_digest(managed(self.readme))

    @property
    def managed_paths(self) -> frozenset[str]:
        return self.lineage.paths if self.lineage else frozenset()

    @property
    def is_empty(self) -> bool:
        """As the Hub creates repos."""
        return not set(self.files) - {GIT_ATTRIBUTES}

    def foreign(self, ours: frozenset[str]) -> tuple[str, ...]:
        """Files that people put there."""
        return tuple(sorted(set(self.files) - ours - {GIT_ATTRIBUTES}))

    def holds(self, path: str, other: Snapshot) -> bool:
        """Whether a managed file stands here as it stands in another revision of the same repo."""
        here, there = self.files.get(path), other.files.get(path)
        if here is None or there is None:
            return False
        if path == PAGE:
            return self.card == other.card
        if here.sha256 and there.sha256:
            return here.sha256 == there.sha256
        if here.sha256 and other.lineage and path in other.lineage.files:  # stored otherwise: .gitattributes was edited
            return here.sha256 == other.lineage.files[path].sha256
        return here.git_oid == there.git_oid


@dataclass(frozen=True)
class Difference:
    """What keeps a head from holding the managed tree of a release."""

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()  # managed files of an earlier release

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.surplus)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(sorted((*self.changed, *self.missing, *self.surplus)))


NO_DIFFERENCE = Difference()


def difference(target: Snapshot, head: Snapshot, ours_before: frozenset[str] = frozenset()) -> Difference:
    """How ``head`` differs from ``target`` in managed files. ``ours_before``: what earlier releases managed there."""
    wrong = [path for path in sorted(target.managed_paths) if not head.holds(path, target)]
    surplus = (head.managed_paths | ours_before) & set(head.files) - target.managed_paths
    return Difference(
        changed=tuple(path for path in wrong if path in head.files),
        missing=tuple(path for path in wrong if path not in head.files),
        surplus=tuple(sorted(surplus)),
    )


class Snapshots:
    """Reads revisions, each once: a commit never changes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._known: dict[tuple[str, str], Snapshot] = {}

    def at(self, repo: str, oid: str) -> Snapshot:
        """Raises NotOnHub when there is no such commit, IntegrityError when other bytes come than its tree names."""
        if (repo, oid) not in self._known:
            self._known[repo, oid] = self._read(repo, oid)
        return self._known[repo, oid]

    def find(self, repo: str, oid: str) -> Snapshot | None:
        """None when the commit is gone."""
        try:
            return self.at(repo, oid)
        except NotOnHub:
            return None

    def _read(self, repo: str, oid: str) -> Snapshot:
        files = self._hub.tree(repo, oid)
        page = self._hub.read_file(repo, oid, files[PAGE]) if PAGE in files else None
        readme = None if page is None else page.decode(errors="replace")
        if LINEAGE not in files:
            return Snapshot(repo, oid, files, readme)
        data = self._hub.read_file(repo, oid, files[LINEAGE])
        try:
            lineage = parse_lineage(data, f"{LINEAGE} of {repo}")
            return Snapshot(repo, oid, files, readme, lineage, lineage.tree(data))
        except IntegrityError as error:
            return Snapshot(repo, oid, files, readme, unreadable=error.what)
