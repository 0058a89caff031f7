"""Git without a subprocess: loose objects and refs written straight to disk, so that a commit costs a millisecond.

What is written here is plain git: ``git fsck`` is clean, ``git log`` and ``git clone`` work on the folder. Packs that
git itself made later are read through ``git cat-file``.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

OID = re.compile(r"[0-9a-f]{40}")
CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n[gc]\n\tauto = 0\n"
FILE = "100644"


@dataclass(frozen=True)
class Signature:
    """Who wrote a commit, and when (seconds since 1970)."""

    name: str
    time: int

    def __str__(self) -> str:
        return f"{self.name} <{self.name}@localhub.invalid> {self.time} +0000"


@dataclass(frozen=True)
class Commit:
    """A commit as it was read back."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    author: str
    time: int
    message: str

    @property
    def title(self) -> str:
        return self.message.split("\n", 1)[0]

    @property
    def body(self) -> str:
        return self.message.partition("\n")[2].strip("\n")


class Git:
    """A bare repository at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._objects: dict[str, tuple[str, bytes]] = {}
        self._trees: dict[str, dict[str, tuple[str, str]]] = {}

    def init(self) -> None:
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (self.path / folder).mkdir(parents=True)
        (self.path / "HEAD").write_text("ref: refs/heads/main\n")
        (self.path / "config").write_text(CONFIG)

    def run(self, *args: str, text: str | None = None) -> str:
        """``git ARGS`` in this repository, its standard output. Raises CalledProcessError."""
        command = ["git", "--git-dir", str(self.path), *args]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout

    # Objects

    def write(self, kind: str, data: bytes) -> str:
        whole = b"%s %d\0" % (kind.encode(), len(data)) + data
        oid = hashlib.sha1(whole).hexdigest()
        target = self.path / "objects" / oid[:2] / oid[2:]
        if oid not in self._objects and not target.exists():
            target.parent.mkdir(exist_ok=True)
            writing = target.with_name(f"tmp_obj_{threading.get_ident()}")
            writing.write_bytes(zlib.compress(whole, 1))
            os.replace(writing, target)
        self._objects[oid] = (kind, data)
        return oid

    def read(self, oid: str) -> tuple[str, bytes]:
        """Kind and content of an object. Raises KeyError when there is none."""
        if oid not in self._objects:
            self._objects[oid] = self._read(oid)
        return self._objects[oid]

    def _read(self, oid: str) -> tuple[str, bytes]:
        loose = self.path / "objects" / oid[:2] / oid[2:]
        if loose.exists():
            head, _, data = zlib.decompress(loose.read_bytes()).partition(b"\0")
            return head.split()[0].decode(), data
        try:
            kind = self.run("cat-file", "-t", oid).strip()
        except subprocess.CalledProcessError:
            raise KeyError(oid) from None
        command = ["git", "--git-dir", str(self.path), "cat-file", kind, oid]
        return kind, subprocess.run(command, capture_output=True, check=True).stdout

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """Every object that is stored, reachable or not: its id and its content."""
        listing = self.run("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
        for oid in listing.split():
            yield oid, self._read(oid)[1]

    # Trees and commits

    def tree(self, oid: str) -> dict[str, tuple[str, str]]:
        """All files below a tree: path -> (mode, blob)."""
        if oid not in self._trees:
            files: dict[str, tuple[str, str]] = {}
            for mode, name, child in self.entries(oid):
                if mode == "40000":
                    files |= {f"{name}/{path}": entry for path, entry in self.tree(child).items()}
                else:
                    files[name] = (mode, child)
            self._trees[oid] = files
        return self._trees[oid]

    def entries(self, oid: str) -> list[tuple[str, str, str]]:
        """One level of a tree: (mode, name, object)."""
        data, at, entries = self.read(oid)[1], 0, []
        while at < len(data):
            end = data.index(b"\0", at)
            mode, _, name = data[at:end].partition(b" ")
            entries.append((mode.decode(), name.decode(), data[end + 1 : end + 21].hex()))
            at = end + 21
        return entries

    def write_tree(self, files: Mapping[str, tuple[str, str]]) -> str:
        """Writes the trees of path -> (mode, blob). Raises ValueError when a file and a folder have one name."""
        here: dict[str, tuple[str, str]] = {}
        below: dict[str, dict[str, tuple[str, str]]] = {}
        for path, entry in files.items():
            name, slash, rest = path.partition("/")
            if slash:
                below.setdefault(name, {})[rest] = entry
            else:
                here[name] = entry
        if both := here.keys() & below.keys():
            raise ValueError(f"{both.pop()} is a file and a folder")
        here |= {name: ("40000", self.write_tree(inner)) for name, inner in below.items()}
        ordered = sorted(here.items(), key=lambda item: item[0] + ("/" if item[1][0] == "40000" else ""))
        data = b"".join(b"%s %s\0" % (mode.encode(), name.encode()) + bytes.fromhex(o) for name, (mode, o) in ordered)
        return self.write("tree", data)

    def write_commit(self, tree: str, parents: tuple[str, ...], author: Signature, message: str) -> str:
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {author}", f"committer {author}"]
        return self.write("commit", ("\n".join(lines) + "\n\n" + message.rstrip("\n") + "\n").encode())

    def commit(self, oid: str) -> Commit:
        head, _, message = self.read(oid)[1].decode().partition("\n\n")
        lines = [line.split(" ", 1) for line in head.split("\n") if not line.startswith(" ")]
        fields = dict(lines)
        name, seconds, _zone = fields["author"].rsplit(" ", 2)
        parents = tuple(value for key, value in lines if key == "parent")
        return Commit(oid, fields["tree"], parents, name.split(" <")[0], int(seconds), message)

    def history(self, oid: str) -> Iterator[Commit]:
        """The commit and its first parents, newest first."""
        while True:
            commit = self.commit(oid)
            yield commit
            if not commit.parents:
                return
            oid = commit.parents[0]

    # Refs

    def refs(self) -> dict[str, str]:
        """Every ref with the object it names, packed ones included."""
        found = self._packed()
        for folder, _, names in os.walk(self.path / "refs"):
            for name in names:
                ref = os.path.relpath(os.path.join(folder, name), self.path)
                if oid := self._loose(ref):
                    found[ref] = oid
        return dict(sorted(found.items()))

    def ref(self, name: str) -> str | None:
        return self._loose(name) or self._packed().get(name)

    def _loose(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text().strip()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):  # another thread took it away, or never was
            return None

    def _packed(self) -> dict[str, str]:
        try:
            lines = (self.path / "packed-refs").read_text().splitlines()
        except FileNotFoundError:
            return {}
        rows = [line.partition(" ") for line in lines if line[:1] not in ("#", "^")]
        return {ref: oid for oid, _, ref in rows}

    def set_ref(self, name: str, oid: str) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        writing = self.path / f"ref-{threading.get_ident()}"
        writing.write_text(oid + "\n")
        os.replace(writing, target)

    def delete_ref(self, name: str) -> None:
        if name in self._packed():
            self.run("update-ref", "-d", name)
        else:
            (self.path / name).unlink(missing_ok=True)

    def peel(self, oid: str) -> str:
        """The commit that an annotated tag names; any other object as it is."""
        kind, data = self.read(oid)
        return data.split(b"\n", 1)[0].split()[1].decode() if kind == "tag" else oid
