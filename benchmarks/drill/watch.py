"""What must hold of the hub at every moment of a release; looked at after each request that changed something.

Requests are handled side by side, so each look reads consequences before causes: what is exposed before what was
decided, what may be seen before what it holds. Only a real violation then looks like one.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.localhub import LocalHub
from tests.localhub.repos import Repo
from tests.release.lab import INDEX, tree_at

from variantforge.release.record import LINEAGE, Record, parse_record


class Watch:
    """A hook of the hub. ``problems``: what was seen that must never be seen."""

    def __init__(self, hub: LocalHub, repos: Iterable[str]) -> None:
        self.hub, self.repos = hub, tuple(repos)
        self.problems: list[str] = []
        self.looks = 0
        self._trees: dict[tuple[str, str], str] = {}
        self._records: dict[str, Record | None] = {}
        self._checked: set[str] = set()
        self._decided: list[Record] = []
        self._before = {name: self._tree(name, "main") for name in self.repos if name != INDEX}
        self._was_public = {name for name in self.repos if (repo := self._repo(name)) and not repo.private}
        self._note_decided()

    def after(self, number: int) -> None:
        entry = self.hub.log[number - 1]
        if entry.writes:
            self.problems += [f"after {entry.method} {entry.path}: {what}" for what in self.look()]

    def look(self) -> list[str]:
        self.looks += 1
        listed = [item["id"] for one in self.hub.collections.values() for item in one["items"]]
        index = self._repo(INDEX)
        index_tags = index.tags() if index else {}
        public = {name for name in self.repos if (repo := self._repo(name)) and not repo.private}
        tags = {name: repo.tags() for name in self._before if (repo := self._repo(name))}
        mains = {name: self._tree(name, "main") for name in self._before}
        self._note_decided()
        return [
            *self._mains(mains),
            *self._public(public, mains, listed),
            *self._tags(tags, index_tags),
            *self._named(),
        ]

    def _mains(self, mains: dict[str, str]) -> Iterable[str]:
        """A branch holds what it held, or what was decided: never a part of either."""
        for name, tree in mains.items():
            known = {record.repos[name].tree for record in self._decided if name in record.repos}
            if tree not in {self._before[name], *known}:
                yield f"main of {name} holds neither the old nor a decided tree"

    def _public(self, public: set[str], mains: dict[str, str], listed: list[str]) -> Iterable[str]:
        """What can be seen is whole; the collection lists only what can be seen."""
        for name in public - self._was_public:
            if not self._decided:
                yield f"{name} is public and nothing was decided"
            elif name != INDEX and mains[name] != self._decided[-1].repos[name].tree:
                yield f"{name} is public and its main does not hold the release"
        if INDEX in public and (hidden := mains.keys() - public):
            yield f"the index is public and {', '.join(sorted(hidden))} not"
        if unseen := [name for name in listed if name in self.repos and name not in public]:
            yield f"the collection lists {', '.join(unseen)}, which nobody can see"

    def _tags(self, tags: dict[str, dict[str, str]], index_tags: dict[str, str]) -> Iterable[str]:
        for record in self._decided:
            for name, released in record.repos.items():
                at = tags.get(name, {}).get(record.tag)
                if at not in (None, released.commit):
                    yield f"{record.tag} of {name} is not the released commit"
                if at is None and record.tag in index_tags:
                    yield f"the index has {record.tag} and {name} has not"
        known = {record.tag for record in self._decided}
        for name, there in tags.items():
            if early := there.keys() - known:
                yield f"{name} has {', '.join(early)} of a release that was not decided"

    def _named(self) -> Iterable[str]:
        """Each commit that release.json names is there and holds what it says."""
        for record in self._decided:
            for name, released in record.repos.items():
                if released.commit not in self._checked:
                    self._checked.add(released.commit)
                    if self._tree(name, released.commit) != released.tree:
                        yield f"release.json names {released.commit[:12]} of {name}, which is not that tree"

    def _note_decided(self) -> None:
        index = self._repo(INDEX)
        head = index.head("main") if index else None
        if head is None or head in self._records:
            return
        there = "release.json" in self.hub.repo(INDEX).files(head)
        record = parse_record(self.hub.read(INDEX, "release.json", head), head) if there else None
        self._records[head] = record
        if record and record.id not in {known.id for known in self._decided}:
            self._decided.append(record)

    def _repo(self, name: str) -> Repo | None:
        return self.hub.repos.get(("models", name))

    def _tree(self, name: str, revision: str) -> str:
        """Digest of the managed files as they are really served; '' where nothing of ours is."""
        repo = self._repo(name)
        if repo is None:
            return ""
        oid = repo.head(revision)
        if (name, oid) not in self._trees:
            ours = LINEAGE in repo.files(oid)
            self._trees[name, oid] = tree_at(self.hub, name, oid) if ours else ""
        return self._trees[name, oid]
