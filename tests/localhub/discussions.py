"""Discussions and pull requests; a pull request is a branch ``refs/pr/N``."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from tests.localhub import access
from tests.localhub.accounts import object_id
from tests.localhub.facts import iso
from tests.localhub.http import HubError, Reply, Request, Route
from tests.localhub.repos import Repo

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

Discussion = dict[str, Any]


def open_pull(hub: LocalHub, repo: Repo, author: str, title: str, description: str, base: str = "main") -> Discussion:
    """A pull request that starts at ``base``, as a draft."""
    head = repo.head(base)
    opened = _open(hub, repo, author, title, description)
    opened |= {"isPullRequest": True, "status": "draft", "changes": {"base": f"refs/heads/{base}"}, "start": head}
    repo.store.set_ref(f"refs/pr/{opened['num']}", head)
    return opened


def _open(hub: LocalHub, repo: Repo, author: str, title: str, description: str) -> Discussion:
    opened: Discussion = {"num": len(repo.discussions) + 1, "title": title, "author": {"name": author}}
    opened |= {"createdAt": iso(hub.now()), "status": "open", "isPullRequest": False, "events": []}
    opened["repo"] = {"name": repo.name, "type": repo.kind[:-1]}
    repo.discussions.append(opened)
    if description:
        _comment(hub, opened, author, description)
    return opened


def _event(hub: LocalHub, talk: Discussion, author: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    key = object_id(talk["repo"]["name"], talk["num"], len(talk["events"]))
    event = {"id": key, "author": {"name": author}, "createdAt": iso(hub.now()), "type": kind, "data": data}
    talk["events"].append(event)
    return event


def _comment(hub: LocalHub, talk: Discussion, author: str, text: str) -> dict[str, Any]:
    latest = {"raw": text, "html": text, "updatedAt": iso(hub.now()), "author": {"name": author}}
    return _event(hub, talk, author, "comment", {"edited": False, "hidden": False, "latest": latest, "history": []})


def note_commit(hub: LocalHub, repo: Repo, ref: str, author: str, summary: str, oid: str) -> None:
    """Tells the pull request of a commit on its ref; other refs have nobody to tell."""
    if ref.startswith("refs/pr/"):
        talk = repo.discussions[int(ref.rsplit("/", 1)[-1]) - 1]
        _event(hub, talk, author, "commit", {"subject": summary, "oid": oid})


def create(hub: LocalHub, request: Request, kind: str, ns: str, name: str) -> Reply:
    with hub.lock:
        repo = access.find(hub, request, kind, f"{ns}/{name}")
        wish, caller = request.json(), access.logged_in(request)
        title = str(wish.get("title") or "").strip()
        if caller.token is None or caller.token.role == "read" or caller.name is None:
            raise HubError(403, "Forbidden: you must use a write token to open a discussion.")
        if not 3 <= len(title) <= 200:
            raise HubError(400, '"title" length must be between 3 and 200 characters')
        opening = open_pull if wish.get("pullRequest") else _open
        opened = opening(hub, repo, caller.name, title, str(wish.get("description") or ""))
    return Reply.json({"num": opened["num"], "url": f"{hub.endpoint}{repo.url_path}/discussions/{opened['num']}"})


def browse(hub: LocalHub, request: Request, kind: str, ns: str, name: str) -> Reply:
    repo = access.find(hub, request, kind, f"{ns}/{name}")
    wanted = {"type": request.arg("type"), "status": request.arg("status"), "author": request.arg("author")}
    rows = [_summary(talk) for talk in reversed(repo.discussions) if _fits(talk, wanted)]
    start = 50 * int(request.arg("p", "0"))
    return Reply.json({"discussions": rows[start : start + 50], "count": len(rows), "start": start})


def _summary(talk: Discussion) -> Discussion:
    return {key: value for key, value in talk.items() if key not in ("events", "start", "changes")}


def _fits(talk: Discussion, wanted: dict[str, str]) -> bool:
    kind = "pull_request" if talk["isPullRequest"] else "discussion"
    state = "open" if talk["status"] in ("open", "draft") else "closed"
    return (
        wanted["type"] in ("", "all", kind)
        and wanted["status"] in ("", "all", state)
        and wanted["author"] in ("", talk["author"]["name"])
    )


def find(repo: Repo, num: str) -> Discussion:
    if not num.isdigit() or not 1 <= int(num) <= len(repo.discussions):
        raise HubError(404, "Discussion not found")
    return repo.discussions[int(num) - 1]


def show(hub: LocalHub, request: Request, kind: str, ns: str, name: str, num: str) -> Reply:
    repo = access.find(hub, request, kind, f"{ns}/{name}")
    talk = find(repo, num)
    told = {key: value for key, value in talk.items() if key != "start"}
    if talk["isPullRequest"]:
        told["filesWithConflicts"] = conflicts(repo, talk)
        told["diff"] = diff(repo, talk) if request.flag("diff") else None
    return Reply.json(told)


def comment(hub: LocalHub, request: Request, kind: str, ns: str, name: str, num: str) -> Reply:
    with hub.lock:
        talk = find(access.find(hub, request, kind, f"{ns}/{name}"), num)
        event = _comment(hub, talk, str(access.logged_in(request).name), str(request.json().get("comment") or ""))
    return Reply.json({"newMessage": event})


def set_status(hub: LocalHub, request: Request, kind: str, ns: str, name: str, num: str) -> Reply:
    with hub.lock:
        repo = access.writable(hub, request, kind, f"{ns}/{name}")
        talk, status = find(repo, num), request.json().get("status")
        if status not in ("open", "closed"):
            raise HubError(400, '"status" must be one of [open, closed]')
        if talk["status"] == "merged":
            raise HubError(400, "This pull request is merged")
        talk["status"] = status
        event = _event(hub, talk, str(access.logged_in(request).name), "status-change", {"status": status})
    return Reply.json({"newStatus": event})


def set_title(hub: LocalHub, request: Request, kind: str, ns: str, name: str, num: str) -> Reply:
    with hub.lock:
        talk = find(access.writable(hub, request, kind, f"{ns}/{name}"), num)
        old, talk["title"] = talk["title"], str(request.json().get("title"))
        author = str(access.logged_in(request).name)
        event = _event(hub, talk, author, "title-change", {"from": old, "to": talk["title"]})
    return Reply.json({"newTitle": event})


# Merging


def changes(repo: Repo, talk: Discussion, rev: str) -> dict[str, str | None]:
    """Path -> blob (None: deleted) of what differs between the start of a pull request and ``rev``."""
    start = {path: entry.blob for path, entry in repo.entries(talk["start"]).items()}
    now = {path: entry.blob for path, entry in repo.entries(rev).items()}
    return {path: now.get(path) for path in start | now if start.get(path) != now.get(path)}


def conflicts(repo: Repo, talk: Discussion) -> list[str]:
    """Paths that both the pull request and its base changed, differently."""
    if talk["status"] == "merged":
        return []
    ours, theirs = changes(repo, talk, f"refs/pr/{talk['num']}"), changes(repo, talk, talk["changes"]["base"])
    return sorted(path for path in ours.keys() & theirs.keys() if ours[path] != theirs[path])


def diff(repo: Repo, talk: Discussion) -> str:
    lines: list[str] = []
    for path, blob in sorted(changes(repo, talk, f"refs/pr/{talk['num']}").items()):
        known = repo.entries(talk["start"]).get(path)
        old = repo.store.read(known.blob)[1].decode(errors="replace") if known else ""
        new = repo.store.read(blob)[1].decode(errors="replace") if blob else ""
        lines += difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{path}", f"b/{path}")
    return "".join(lines)


def merge(hub: LocalHub, request: Request, kind: str, ns: str, name: str, num: str) -> Reply:
    """One commit on the base with everything that the pull request changed."""
    with hub.lock:
        repo = access.writable(hub, request, kind, f"{ns}/{name}")
        talk, author = find(repo, num), str(access.logged_in(request).name)
        if not talk["isPullRequest"] or talk["status"] in ("merged", "closed"):
            raise HubError(400, "This is not an open pull request")
        if found := conflicts(repo, talk):
            raise HubError(409, f"Conflicts in {', '.join(found)}")
        blobs = changes(repo, talk, f"refs/pr/{num}")
        contents = {path: repo.store.read(blob)[1] if blob else None for path, blob in blobs.items()}
        message = f"{talk['title']} (#{num})"
        oid = repo.commit(talk["changes"]["base"], contents, hub.signature(author), message)
        talk["status"], talk["changes"]["mergeCommitId"] = "merged", oid
        _event(hub, talk, author, "status-change", {"status": "merged"})
    return Reply.json({"merged": True, "mergeCommitId": oid})


ROUTES: list[Route] = [
    ("GET", "/api/{kind}/{ns}/{name}/discussions", browse),
    ("POST", "/api/{kind}/{ns}/{name}/discussions", create),
    ("GET", "/api/{kind}/{ns}/{name}/discussions/{num}", show),
    ("POST", "/api/{kind}/{ns}/{name}/discussions/{num}/comment", comment),
    ("POST", "/api/{kind}/{ns}/{name}/discussions/{num}/status", set_status),
    ("POST", "/api/{kind}/{ns}/{name}/discussions/{num}/title", set_title),
    ("POST", "/api/{kind}/{ns}/{name}/discussions/{num}/merge", merge),
]
