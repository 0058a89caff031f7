"""Reading a repo through the API: tree, paths-info, commits, refs; and files themselves through resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from tests.localhub import access
from tests.localhub.facts import iso
from tests.localhub.http import FileSlice, HubError, Reply, Request, Route, paged
from tests.localhub.repos import Entry, Repo

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

EXPANDED_PAGE = 50
COMMITS_PAGE = 50


def tree(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str, path: str = "") -> Reply:
    repo = access.find(hub, request, kind, f"{ns}/{name}")
    head = repo.head(rev)
    rows = listing(hub, repo, head, path.strip("/"), request.flag("recursive"))
    if path and not rows:
        raise HubError(404, f"{path} does not exist on {rev!r}", "EntryNotFound")
    expand = request.flag("expand")
    if expand:
        rows = [row | last_commit(repo, head, row["path"]) for row in rows]
    size = min(EXPANDED_PAGE if expand else hub.page_size, int(request.arg("limit") or hub.page_size))
    return paged(hub.endpoint, request, rows, size)


def listing(hub: LocalHub, repo: Repo, rev: str, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below ``folder``, folders first as the Hub lists them."""
    prefix = f"{folder}/" if folder else ""
    rows: dict[str, dict[str, Any]] = {}
    root = repo.store.commit(rev).tree
    for entry in repo.entries(rev).values():
        if not entry.path.startswith(prefix):
            continue
        parts = entry.path[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            path = prefix + "/".join(parts[:depth])
            rows.setdefault(path, {"type": "directory", "oid": folder_oid(repo, root, path), "size": 0, "path": path})
        if recursive or len(parts) == 1:
            rows[entry.path] = file_row(hub, entry)
    return sorted(rows.values(), key=lambda row: (row["type"] == "file", row["path"]))


def file_row(hub: LocalHub, entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "file", "oid": entry.blob, "size": entry.size, "path": entry.path}
    if entry.sha256:
        row["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
        if hub.xet and (xet_hash := hub.storage.xet_hash(entry.sha256)):
            row["xetHash"] = xet_hash
    return row


def folder_oid(repo: Repo, tree_oid: str, path: str) -> str:
    for part in path.split("/"):
        tree_oid = next(oid for _mode, name, oid in repo.store.entries(tree_oid) if name == part)
    return tree_oid


def last_commit(repo: Repo, rev: str, path: str) -> dict[str, Any]:
    """The newest commit that touched a path, and the scan's verdict that comes with it."""
    found = None
    before: object = object()
    for commit in repo.store.history(rev):
        files = repo.store.tree(commit.tree)
        now = {name: entry for name, entry in files.items() if name == path or name.startswith(path + "/")}
        if found is not None and now != before:
            break
        found, before = commit, now
    assert found is not None
    scan = {"status": "safe", "avScan": None, "pickleImportScan": None}
    told = {"id": found.oid, "title": found.title, "date": iso(found.time)}
    return {"lastCommit": told, "securityFileStatus": scan}


def paths_info(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str) -> Reply:
    repo = access.find(hub, request, kind, f"{ns}/{name}")
    head = repo.head(rev)
    if "json" in (request.headers.get("Content-Type") or ""):
        wish = request.json()
        paths, expand = wish.get("paths", []), bool(wish.get("expand"))
    else:
        form = parse_qs(request.body.decode(), keep_blank_values=True)
        paths, expand = form.get("paths", []), form.get("expand", [""])[0].lower() == "true"
    known = {row["path"]: row for row in listing(hub, repo, head, "", recursive=True)}
    rows = [known[path] for path in dict.fromkeys(p.rstrip("/") for p in paths) if path in known]
    return Reply.json([row | last_commit(repo, head, row["path"]) for row in rows] if expand else rows)


def commits(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str) -> Reply:
    repo = access.find(hub, request, kind, f"{ns}/{name}")
    rows = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.body,
            "authors": [{"user": commit.author, "avatar": ""}],
            "date": iso(commit.time),
        }
        for commit in repo.commits(rev)
    ]
    size = min(int(request.arg("limit") or COMMITS_PAGE), COMMITS_PAGE)
    reply = paged(hub.endpoint, request, rows, size)
    reply.headers["X-Total-Count"] = str(len(rows))
    return reply


def refs(hub: LocalHub, request: Request, kind: str, ns: str, name: str) -> Reply:
    repo = access.find(hub, request, kind, f"{ns}/{name}")

    def rows(prefix: str, named: dict[str, str]) -> list[dict[str, str]]:
        return [{"name": key, "ref": prefix + key, "targetCommit": oid} for key, oid in named.items()]

    told = {"branches": rows("refs/heads/", repo.branches()), "tags": rows("refs/tags/", repo.tags()), "converts": []}
    if request.arg("include_prs"):
        pulls = repo._named("refs/pr/")
        told["pullRequests"] = [
            {"name": f"refs/pr/{n}", "ref": f"refs/pr/{n}", "targetCommit": pulls[n]} for n in pulls
        ]
    return Reply.json(told)


def resolve(hub: LocalHub, request: Request, ns: str, name: str, rev: str, path: str, kind: str = "models") -> Reply:
    """A file of a revision: small ones from here, large ones by way of the storage."""
    if rev == "refs" and path.startswith(("pr/", "convert/")):
        rest, number, path = path.split("/", 2)
        rev = f"refs/{rest}/{number}"
    repo = access.readable(hub, request, kind, f"{ns}/{name}")
    head = repo.head(rev)
    entry = repo.entries(head).get(path)
    if entry is None:
        raise HubError(404, "Entry not found", "EntryNotFound", headers={"X-Repo-Commit": head})
    headers = {"X-Repo-Commit": head, "Accept-Ranges": "bytes", "ETag": f'"{entry.sha256 or entry.blob}"'}
    if entry.sha256 is None:
        return ranged(request, repo.store.read(entry.blob)[1], {**headers, "Content-Type": "text/plain; charset=utf-8"})
    headers |= {"X-Linked-Size": str(entry.size), "X-Linked-ETag": f'"{entry.sha256}"'}
    headers["Location"] = storage_url(hub, "GET", entry.sha256)
    if hub.xet and (xet_hash := hub.storage.xet_hash(entry.sha256)):
        headers["X-Xet-Hash"] = xet_hash
        headers["Link"] = f'<{hub.endpoint}/api/{kind}/{ns}/{name}/xet-read-token/{head}>; rel="xet-auth"'
    return Reply(302, f"Found. Redirecting to {headers['Location']}".encode(), headers)


def storage_url(hub: LocalHub, method: str, sha256: str) -> str:
    signature = hub.storage.sign(f"{method} {sha256}")
    return f"{hub.storage_endpoint}/objects/{quote(sha256)}?X-Signature={signature}"


def ranged(request: Request, body: bytes | FileSlice, headers: dict[str, str]) -> Reply:
    """The whole body, or the part that a Range header asks for."""
    wanted = request.headers.get("Range")
    if not wanted or not wanted.startswith("bytes="):
        return Reply(200, body, headers)
    total = len(body)
    first, _, last = wanted[6:].split(",")[0].partition("-")
    start = int(first) if first else max(total - int(last), 0)
    end = min(int(last) + 1, total) if first and last else total
    if start >= total or start >= end:
        raise HubError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{total}"})
    part = body[start:end] if isinstance(body, bytes) else FileSlice(body.path, start, end)
    return Reply(206, part, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{total}"})


ROUTES: list[Route] = [
    ("GET", "/api/{kind}/{ns}/{name}/tree/{rev}", tree),
    ("GET", "/api/{kind}/{ns}/{name}/tree/{rev}/{path...}", tree),
    ("POST", "/api/{kind}/{ns}/{name}/paths-info/{rev}", paths_info),
    ("GET", "/api/{kind}/{ns}/{name}/commits/{rev}", commits),
    ("GET", "/api/{kind}/{ns}/{name}/refs", refs),
    ("GET", "/{kind}/{ns}/{name}/resolve/{rev}/{path...}", resolve),
    ("GET", "/{ns}/{name}/resolve/{rev}/{path...}", resolve),
]
