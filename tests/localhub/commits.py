"""Writing to a repo: preupload, commit, and the check of a card."""

from __future__ import annotations

import base64
import fnmatch
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.localhub import access, cards, discussions
from tests.localhub.http import HubError, Reply, Request, Route
from tests.localhub.info import url_of
from tests.localhub.repos import Repo, pointer

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

MAX_REGULAR = 10 << 20
STALE = "The branch was updated since you opened this page. Please refresh and try again."
BAD_PART = re.compile(r"|\.|\.\.|\.git", re.IGNORECASE)


def _safe_path(path: Any) -> str:
    if not isinstance(path, str) or any(BAD_PART.fullmatch(part) for part in path.split("/")) or "\0" in path:
        raise HubError(400, f"Invalid path: {path!r}")
    return path


# Which files go to the large-file store


def lfs_patterns(attributes: str) -> list[tuple[str, bool]]:
    """The patterns of a .gitattributes file that switch LFS on or off, in order."""
    found = []
    for line in attributes.splitlines():
        name, *words = line.split() or [""]
        if "filter=lfs" in words or "-filter" in words or "!filter" in words:
            found.append((name.replace("[[:space:]]", " "), "filter=lfs" in words))
    return found


def is_large(path: str, patterns: list[tuple[str, bool]]) -> bool:
    """Does the last pattern that fits send this path to LFS?"""
    fitting = [on for pattern, on in patterns if _fits(path, pattern)]
    return bool(fitting) and fitting[-1]


def _fits(path: str, pattern: str) -> bool:
    if "/" not in pattern:
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern)
    return fnmatch.fnmatchcase(path, pattern.lstrip("/").replace("**/", "*").replace("**", "*"))


def preupload(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str) -> Reply:
    repo = access.writable(hub, request, kind, f"{ns}/{name}", pull_request=request.flag("create_pr"))
    wish = request.json()
    entries = repo.entries(rev)
    patterns = lfs_patterns(repo.read(".gitattributes", rev).decode()) if ".gitattributes" in entries else []
    ignored = [line.strip() for line in str(wish.get("gitIgnore") or "").splitlines() if line.strip()[:1] not in "#"]
    rows = []
    for file in wish.get("files", []):
        path = _safe_path(file["path"])
        binary = b"\0" in base64.b64decode(file.get("sample") or "")
        large = file["size"] > 0 and (is_large(path, patterns) or file["size"] > MAX_REGULAR or binary)
        row: dict[str, Any] = {"path": path, "uploadMode": "lfs" if large else "regular"}
        row["shouldIgnore"] = any(_fits(path, pattern) for pattern in ignored)
        if path in entries:
            row["oid"] = entries[path].sha256 or entries[path].blob
        rows.append(row)
    head = repo.head(rev)
    return Reply.json({"files": rows, "commitOid": head})


# Commit


@dataclass
class Wish:
    """A commit as the client words it."""

    summary: str = ""
    description: str = ""
    parent: str | None = None
    files: dict[str, bytes | None] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    folders: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        return f"{self.summary}\n\n{self.description}" if self.description else self.summary


def read_wish(hub: LocalHub, body: bytes) -> Wish:
    """Reads the NDJSON of a commit. Raises 400 for what the Hub refuses."""
    wish = Wish()
    for key, value in _lines(body):
        if key == "header":
            wish.summary, wish.description = str(value.get("summary") or ""), str(value.get("description") or "")
            wish.parent = value.get("parentCommit")
        elif key == "file":
            wish.files[_safe_path(value.get("path"))] = _regular(value)
        elif key == "lfsFile":
            path = _safe_path(value.get("path"))
            wish.files[path] = _pointer(hub, path, value)
            wish.large.add(path)
        elif key == "deletedFile":
            wish.files[_safe_path(value.get("path"))] = None
        elif key == "deletedFolder":
            wish.folders.append(_safe_path(str(value.get("path")).rstrip("/")))
        else:
            raise HubError(400, f"Unknown key in commit: {key!r}")
    if not wish.summary:
        raise HubError(400, '"summary" is not allowed to be empty')
    return wish


def _lines(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        for line in body.splitlines():
            if line.strip():
                item = json.loads(line)
                yield item["key"], item["value"]
    except (ValueError, KeyError, TypeError):
        raise HubError(400, "The commit is not valid NDJSON") from None


def _regular(value: dict[str, Any]) -> bytes:
    text = str(value.get("content") or "")
    content = base64.b64decode(text) if value.get("encoding") == "base64" else text.encode()
    if len(content) > MAX_REGULAR:
        raise HubError(400, f"Your push was rejected because it contains files larger than 10 MiB: {value['path']}")
    if b"\0" in content[:8000]:
        raise HubError(400, f"Your push was rejected because it contains binary files: {value['path']}")
    return content


def _pointer(hub: LocalHub, path: str, value: dict[str, Any]) -> bytes:
    sha256 = str(value.get("oid"))
    size = hub.storage.size(sha256)
    if size is None:
        raise HubError(
            400,
            "Your push was rejected because an LFS pointer pointed to a file that does not exist. For instance, this "
            f"can happen if you used git push --no-verify to push your changes. Offending file: - {path}",
        )
    if value.get("size", size) != size:
        raise HubError(400, f"The size of {path} is {size}, not {value['size']}")
    return pointer(sha256, size)


def commit(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str) -> Reply:
    as_pull = request.flag("create_pr")
    body = request.body
    with hub.lock:
        repo = access.writable(hub, request, kind, f"{ns}/{name}", pull_request=as_pull)
        caller = access.logged_in(request)
        assert caller.name is not None
        wish = read_wish(hub, body)
        head = repo.head(rev)
        ref = repo.ref_of(rev)
        if ref is None and not as_pull:
            raise HubError(400, f"{rev} is not a branch: commits go to branches and pull requests")
        if wish.parent and not as_pull and not head.startswith(wish.parent):
            raise HubError(412, STALE)
        _check(repo, head, wish)
        hub.limiter.commit(hub.quotas, caller.name, hub.now())
        pull = discussions.open_pull(hub, repo, caller.name, wish.summary, wish.description, rev) if as_pull else None
        target = f"refs/pr/{pull['num']}" if pull else str(ref)
        oid = repo.commit(target, wish.files, hub.signature(caller.name), wish.message, wish.folders)
        discussions.note_commit(hub, repo, target, caller.name, wish.summary, oid)
    told: dict[str, Any] = {"success": True, "commitOid": oid, "commitUrl": f"{url_of(hub, repo)}/commit/{oid}"}
    if pull:
        told["pullRequestUrl"] = f"{url_of(hub, repo)}/discussions/{pull['num']}"
    return Reply.json({**told, "hookOutput": ""})


def _check(repo: Repo, head: str, wish: Wish) -> None:
    """Deletions must find something, a card must be valid, and LFS files get their line in .gitattributes."""
    known = repo.entries(head)
    for path, content in wish.files.items():
        if content is None and path not in known:
            raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    for folder in wish.folders:
        if not any(path.startswith(folder + "/") for path in known):
            raise HubError(404, f"A folder with this name doesn't exist: {folder}", "EntryNotFound")
    card = wish.files.get("README.md")
    if card and (errors := cards.check(card.decode(errors="replace"), repo.kind[:-1])[0]):
        raise HubError(400, "Invalid metadata in README.md: " + "; ".join(errors))
    attributes = wish.files.get(".gitattributes") or b""
    if not attributes and ".gitattributes" in known:
        attributes = repo.read(".gitattributes", head)
    patterns = lfs_patterns(attributes.decode())
    missing = sorted(path for path in wish.large if not is_large(path, patterns))
    if missing:
        lines = [f"{path.replace(' ', '[[:space:]]')} filter=lfs diff=lfs merge=lfs -text\n" for path in missing]
        wish.files[".gitattributes"] = attributes + "".join(lines).encode()


def validate_yaml(hub: LocalHub, request: Request) -> Reply:
    wish = request.json()
    errors, warnings = cards.check(str(wish.get("content") or ""), str(wish.get("repoType") or "model"))
    told = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return Reply.json(told, 400 if errors else 200)


ROUTES: list[Route] = [
    ("POST", "/api/validate-yaml", validate_yaml),
    ("POST", "/api/{kind}/{ns}/{name}/preupload/{rev}", preupload),
    ("POST", "/api/{kind}/{ns}/{name}/commit/{rev}", commit),
]
