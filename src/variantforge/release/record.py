"""What the Hub itself remembers: ``release.json`` in the index repo, ``variantforge.json`` in every repo.

Both are read strictly, since anybody who may write there may have edited them, and written in one canonical form.
A release's id is worked out from what it says, so an edit of a version or of a tree does not go unnoticed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from variantforge.hashing import key_of, text_digest, tree_digest
from variantforge.release.strict_json import Fields, Unreadable, parsed
from variantforge.stages.publish.release import MANIFEST

RELEASE = "release.json"
LINEAGE = MANIFEST
FORMAT = 1
TRAILER = "Variantforge-Release"

Channel = Literal["stable", "candidate"]
Visibility = Literal["public", "private"]
Gated = Literal["no", "auto", "manual"]
CHANNELS: tuple[Channel, ...] = ("stable", "candidate")
STAGING = "vf/"  # staging branches: vf/<release id>

_VERSION = re.compile(r"\d+\.\d+\.\d+([-+][A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*)?", re.ASCII)
_ID = re.compile(r"(stable|candidate)-[\w.+-]{5,200}-[0-9a-f]{32}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TRAILER = re.compile(rf"{TRAILER}: (?P<release>\S+) (?P<tree>[0-9a-f]{{64}})")


def branch_of(channel: Channel) -> str:
    return "main" if channel == "stable" else channel


def tag_of(version: str) -> str:
    return f"v{version}"


def is_version(text: str) -> bool:
    """Whether a version can be the name of a tag."""
    return bool(_VERSION.fullmatch(text)) and not text.endswith(".lock") and len(text) <= 100


@dataclass(frozen=True)
class Trailer:
    """The line in a commit's message that says which release wrote it, and what tree it left."""

    release: str
    tree: str

    def __str__(self) -> str:
        return f"{TRAILER}: {self.release} {self.tree}"

    @classmethod
    def find(cls, message: str) -> Trailer | None:
        found = [match for line in message.splitlines() if (match := _TRAILER.fullmatch(line.strip()))]
        return cls(found[-1]["release"], found[-1]["tree"]) if found else None


@dataclass(frozen=True)
class Released:
    """One repo of a release. ``since``: the version that first had this content. ``refused``: why a gate kept the
    content that was there before."""

    commit: str
    tree: str
    since: str
    refused: str = ""


@dataclass(frozen=True)
class Index:
    """The repo that holds release.json, and the digests of the other files we keep there (the family page)."""

    repo: str
    files: Mapping[str, str]

    @property
    def tree(self) -> str:
        return tree_digest(dict(self.files))


@dataclass(frozen=True)
class Item:
    repo: str
    note: str = ""


@dataclass(frozen=True)
class CollectionRecord:
    title: str
    description: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Record:
    """``release.json``. ``before``: id of the release this one follows on its channel ('': the first).
    ``supersedes``: the version it takes back, for a rollback. ``withheld``: repo -> why it has never been released.
    ``lock``: digest of the lock it was made with ('': there was none), ``tools``: versions of what made it. They are
    told, and are no part of what the release is: another version of a tool alone makes no release.
    """

    family: str
    version: str
    channel: Channel
    index: Index
    repos: Mapping[str, Released]
    before: str = ""
    supersedes: str = ""
    withheld: Mapping[str, str] = field(default_factory=dict)
    collection: CollectionRecord | None = None
    visibility: Visibility = "public"
    gated: Gated = "no"
    lock: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def trees(self) -> dict[str, str]:
        return {repo: released.tree for repo, released in self.repos.items()}

    @property
    def id(self) -> str:
        return release_id(self.family, self.version, self.channel, self.trees, self.index, self.before)

    @property
    def branch(self) -> str:
        return branch_of(self.channel)

    @property
    def tag(self) -> str:
        return tag_of(self.version)

    def trailer(self, repo: str) -> Trailer:
        return Trailer(self.id, self.repos[repo].tree)

    def same_content(self, other: Record) -> bool:
        """Equal repos with equal trees, and an equal family page."""
        return self.trees == other.trees and dict(self.index.files) == dict(other.index.files)

    @property
    def text(self) -> str:
        """Canonical, and readable: sorted keys, two spaces, a newline at the end."""
        return _json({"made_by": "variantforge", "format": FORMAT, "id": self.id} | asdict(self))


def release_id(family: str, version: str, channel: Channel, trees: Mapping[str, str], index: Index, before: str) -> str:
    """The same wish has the same id, on any machine and after any kill: ``stable-1.2.0-<32 hex digits>``."""
    wish = {
        "family": family,
        "version": version,
        "channel": channel,
        "trees": dict(trees),
        "index": {"repo": index.repo, "files": dict(index.files)},
        "before": before,
    }
    return f"{channel}-{version}-{key_of(wish)}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def parse_record(data: bytes, where: str) -> Record:
    """Raises IntegrityError for anything that we did not write like that."""
    return parsed(data, where, _record, "restore it from its history on the Hub, then run the same command again")


def _record(fields: Fields) -> Record:
    fields.only("made_by", "format", "id", *Record.__dataclass_fields__)
    if fields.count("format") != FORMAT:
        raise Unreadable(f"its format is {fields.count('format')}; this program reads {FORMAT}")
    index, repos, withheld = fields.object("index"), fields.object("repos"), fields.object("withheld")
    tools = fields.object("tools") if "tools" in fields.names() else None  # told from 0.2 on
    index.only("repo", "files")
    files = index.object("files")
    record = Record(
        family=fields.text("family", most=100),
        version=fields.matching("version", _VERSION, "version"),
        channel=cast(Channel, fields.one_of("channel", *CHANNELS)),
        index=Index(index.repo("repo"), {path: files.sha256(path) for path in files.path_keys()}),
        repos={repo: _released(repos.object(repo)) for repo in repos.repo_keys()},
        before=fields.matching("before", _ID, "release id", default=""),
        supersedes=fields.matching("supersedes", _VERSION, "version", default=""),
        withheld={repo: withheld.text(repo) for repo in withheld.repo_keys()},
        collection=None if fields.raw("collection") is None else _collection(fields.object("collection")),
        visibility=cast(Visibility, fields.one_of("visibility", "public", "private")),
        gated=cast(Gated, fields.one_of("gated", "no", "auto", "manual")),
        lock=fields.matching("lock", _DIGEST, "sha256", default=""),
        tools={name: tools.text(name, most=100) for name in tools.names()} if tools else {},
    )
    namespace = record.index.repo.partition("/")[0]
    for repo in (*record.repos, *record.withheld):  # who may write here must not lead others to write elsewhere
        if repo.partition("/")[0] != namespace:
            raise Unreadable(f"{repo} is not of {namespace}")
    if fields.text("id") != record.id:
        raise Unreadable("its id does not belong to what it says: it was edited")
    return record


def _released(fields: Fields) -> Released:
    fields.only(*Released.__dataclass_fields__)
    since = fields.matching("since", _VERSION, "version")
    return Released(fields.oid("commit"), fields.sha256("tree"), since, fields.text("refused"))


def _collection(fields: Fields) -> CollectionRecord:
    fields.only(*CollectionRecord.__dataclass_fields__)
    items = [Item(item.repo("repo"), item.text("note")) for item in fields.objects("items")]
    return CollectionRecord(fields.text("title"), fields.text("description"), tuple(items))


@dataclass(frozen=True)
class FileDigest:
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Lineage:
    """``variantforge.json``: what a repo is, and the digest of every other managed file (of README.md: of its
    managed part). ``more`` is what else it tells; nothing is decided by it."""

    family: str
    repo: str
    files: Mapping[str, FileDigest]
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> frozenset[str]:
        """The managed files, itself included."""
        return frozenset({*self.files, LINEAGE})

    @property
    def text(self) -> str:
        files = {path: asdict(digest) for path, digest in self.files.items()}
        said = {"made_by": "variantforge", "format": FORMAT, "family": self.family, "repo": self.repo, "files": files}
        return _json(dict(self.more) | said)

    def tree(self, data: bytes) -> str:
        """The tree digest that a repo has whose variantforge.json holds exactly these bytes."""
        own = {LINEAGE: text_digest(data.decode())}
        return tree_digest({path: digest.sha256 for path, digest in self.files.items()} | own)


def parse_lineage(data: bytes, where: str) -> Lineage:
    """Raises IntegrityError when it is not ours, or was edited into something else."""
    return parsed(data, where, _lineage, "vf drift   # says what else was changed there")


def _lineage(fields: Fields) -> Lineage:
    fields.one_of("made_by", "variantforge")
    if fields.count("format") != FORMAT:
        raise Unreadable(f"its format is {fields.count('format')}; this program reads {FORMAT}")
    files = fields.object("files")
    digests = {path: _digest(files.object(path)) for path in files.path_keys()}
    known = {"made_by", "format", "family", "repo", "files"}
    more = {key: fields.raw(key) for key in fields.names() if key not in known}
    return Lineage(fields.text("family", most=100), fields.repo("repo"), digests, more)


def _digest(fields: Fields) -> FileDigest:
    fields.only("sha256", "size_bytes")
    return FileDigest(fields.sha256("sha256"), fields.count("size_bytes"))
