"""One repo of the hub: a git repository, its settings, and what the API says of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.localhub.accounts import object_id
from tests.localhub.git import FILE, OID, Commit, Git, Signature
from tests.localhub.http import HubError

KINDS = ("models", "datasets", "spaces", "kernels")
POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n")
SHORT_OID = re.compile(r"[0-9a-f]{7,40}")
LARGE = """*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz
    *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite
    *.tgz *.wasm *.xz *.zip *.zst *tfevents*"""
ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE.split())


@dataclass(frozen=True)
class Entry:
    """A file of a revision; ``size`` and ``sha256`` are those of the content behind an LFS pointer."""

    path: str
    blob: str
    size: int
    sha256: str | None = None
    pointer_size: int | None = None


@dataclass
class Repo:
    """``kind`` is models, datasets, spaces or kernels; ``name`` is ``namespace/name``."""

    kind: str
    name: str
    path: Path
    created: float
    private: bool = False
    gated: str | bool = False
    granted: set[str] = field(default_factory=set)
    discussions: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Git(self.path)
        self._entries: dict[str, tuple[int, str | None, int | None]] = {}

    @property
    def id(self) -> str:
        return object_id(self.kind, self.name, self.created)

    @property
    def url_path(self) -> str:
        return f"/{self.name}" if self.kind == "models" else f"/{self.kind}/{self.name}"

    def git(self, *args: str) -> str:
        """``git ARGS`` in the repository itself; what it prints."""
        return self.store.run(*args)

    def start(self, author: Signature) -> None:
        self.store.init()
        blob = self.store.write("blob", ATTRIBUTES.encode())
        tree = self.store.write_tree({".gitattributes": (FILE, blob)})
        self.store.set_ref("refs/heads/main", self.store.write_commit(tree, (), author, "initial commit"))

    # Revisions

    def branches(self) -> dict[str, str]:
        return self._named("refs/heads/")

    def tags(self) -> dict[str, str]:
        return {name: self.store.peel(oid) for name, oid in self._named("refs/tags/").items()}

    def _named(self, prefix: str) -> dict[str, str]:
        return {ref[len(prefix) :]: oid for ref, oid in self.store.refs().items() if ref.startswith(prefix)}

    def ref_of(self, rev: str) -> str | None:
        """The full name of the branch or pull request that ``rev`` names, None for tags, commits and unknown names."""
        for ref in (f"refs/heads/{rev}", rev):
            if ref.startswith(("refs/heads/", "refs/pr/")) and self.store.ref(ref):
                return ref
        return None

    def head(self, branch: str = "main") -> str:
        """The commit a branch (or any revision) names. Raises 404 as the Hub does."""
        rev = "main" if branch == "HEAD" else branch
        for ref in (f"refs/heads/{rev}", f"refs/tags/{rev}", rev if rev.startswith("refs/") else None):
            if ref and (oid := self.store.ref(ref)):
                return self.store.peel(oid)
        if found := self._commit_named(rev):
            return found
        raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")

    def _commit_named(self, rev: str) -> str | None:
        if not SHORT_OID.fullmatch(rev):
            return None
        if OID.fullmatch(rev):
            candidates = [rev]
        else:
            folder = self.path / "objects" / rev[:2]
            candidates = [rev[:2] + file.name for file in folder.glob(f"{rev[2:]}*")]
        for oid in candidates:
            try:
                if self.store.read(oid)[0] == "commit":
                    return oid
            except KeyError:
                continue
        return None

    # Content

    def entries(self, rev: str = "main") -> dict[str, Entry]:
        """All files of a revision by path."""
        tree = self.store.commit(self.head(rev)).tree
        return {path: self._entry(path, blob) for path, (_mode, blob) in sorted(self.store.tree(tree).items())}

    def _entry(self, path: str, blob: str) -> Entry:
        if blob not in self._entries:
            data = self.store.read(blob)[1]
            pointer = POINTER.fullmatch(data) if len(data) < 200 else None
            self._entries[blob] = (
                (int(pointer[2]), pointer[1].decode(), len(data)) if pointer else (len(data), None, None)
            )
        return Entry(path, blob, *self._entries[blob])

    def files(self, branch: str = "main") -> dict[str, Entry]:
        return self.entries(branch)

    def read(self, path: str, rev: str = "main") -> bytes:
        """The bytes that git itself holds: the pointer, for an LFS file. Raises KeyError."""
        return self.store.read(self.entries(rev)[path].blob)[1]

    def commits(self, branch: str = "main") -> list[Commit]:
        return list(self.store.history(self.head(branch)))

    # Writing

    def commit(
        self, ref: str, changes: Mapping[str, bytes | None], author: Signature, message: str, drop: Iterable[str] = ()
    ) -> str:
        """One commit on ``ref``: path -> content, None deletes; ``drop`` names folders. The commit's id."""
        head = self.store.ref(ref)
        assert head is not None, ref
        files = dict(self.store.tree(self.store.commit(head).tree))
        for folder in drop:
            files = {path: entry for path, entry in files.items() if not path.startswith(folder.rstrip("/") + "/")}
        for path, content in changes.items():
            files.pop(path, None)
            if content is not None:
                files[path] = (FILE, self.store.write("blob", content))
        try:
            tree = self.store.write_tree(files)
        except ValueError as why:
            raise HubError(400, f"Cannot commit: {why}") from None
        oid = self.store.write_commit(tree, (head,), author, message)
        self.store.set_ref(ref, oid)
        return oid


def pointer(sha256: str, size: int) -> bytes:
    """The text that stands in git for a file of the large-file store."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
