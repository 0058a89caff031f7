"""Branches and tags: making them, taking them away, squashing a branch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.localhub import access
from tests.localhub.git import OID
from tests.localhub.http import HubError, Reply, Request, Route

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

REF_NAME = re.compile(r"(?!.*(\.\.|//|@\{|\.lock(/|$)))(?![./-])[^\x00-\x20~^:?*\[\\\x7f]+(?<![./])")


def _ref_name(name: str) -> str:
    if not REF_NAME.fullmatch(name) or OID.fullmatch(name):
        raise HubError(400, f"Invalid reference name: {name}")
    return name


def create_branch(hub: LocalHub, request: Request, kind: str, ns: str, name: str, branch: str) -> Reply:
    with hub.lock:
        repo = access.writable(hub, request, kind, f"{ns}/{name}")
        wish = request.json()
        if branch in repo.branches():
            raise HubError(409, f"Reference already exists: refs/heads/{branch}")
        start = repo.head(wish.get("startingPoint") or "main")
        if wish.get("emptyBranch"):
            tree = repo.store.write_tree({})
            start = repo.store.write_commit(
                tree, (), hub.signature(str(request.caller and request.caller.name)), "empty"
            )
        repo.store.set_ref(f"refs/heads/{_ref_name(branch)}", start)
    return Reply.json({})


def delete_branch(hub: LocalHub, request: Request, kind: str, ns: str, name: str, branch: str) -> Reply:
    with hub.lock:
        repo = access.writable(hub, request, kind, f"{ns}/{name}")
        if branch == "main":
            raise HubError(403, "The default branch cannot be deleted")
        if branch not in repo.branches():
            raise HubError(404, f"Reference does not exist: refs/heads/{branch}", "RevisionNotFound")
        repo.store.delete_ref(f"refs/heads/{branch}")
    return Reply.json({})


def create_tag(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str) -> Reply:
    with hub.lock:
        repo = access.writable(hub, request, kind, f"{ns}/{name}")
        wish = request.json()
        tag = _ref_name(str(wish.get("tag") or ""))
        target = repo.head(rev)
        if tag in repo.tags():
            raise HubError(409, f"Tag reference already exists: {tag}")
        if message := wish.get("message"):
            tagger = hub.signature(str(request.caller and request.caller.name))
            text = f"object {target}\ntype commit\ntag {tag}\ntagger {tagger}\n\n{message}\n"
            target = repo.store.write("tag", text.encode())
        repo.store.set_ref(f"refs/tags/{tag}", target)
    return Reply.json({})


def delete_tag(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str) -> Reply:
    with hub.lock:
        repo = access.writable(hub, request, kind, f"{ns}/{name}")
        if rev not in repo.tags():
            raise HubError(404, f"Tag does not exist: {rev}", "RevisionNotFound")
        repo.store.delete_ref(f"refs/tags/{rev}")
    return Reply.json({})


def squash(hub: LocalHub, request: Request, kind: str, ns: str, name: str, branch: str) -> Reply:
    """All commits of a branch become one."""
    with hub.lock:
        repo = access.writable(hub, request, kind, f"{ns}/{name}")
        if branch not in repo.branches():
            raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        author = hub.signature(str(request.caller and request.caller.name))
        message = str(request.json().get("message") or "Super-squash")
        tree = repo.store.commit(repo.head(branch)).tree
        repo.store.set_ref(f"refs/heads/{branch}", repo.store.write_commit(tree, (), author, message))
    return Reply.json({})


ROUTES: list[Route] = [
    ("POST", "/api/{kind}/{ns}/{name}/branch/{branch}", create_branch),
    ("DELETE", "/api/{kind}/{ns}/{name}/branch/{branch}", delete_branch),
    ("POST", "/api/{kind}/{ns}/{name}/tag/{rev}", create_tag),
    ("DELETE", "/api/{kind}/{ns}/{name}/tag/{rev}", delete_tag),
    ("POST", "/api/{kind}/{ns}/{name}/super-squash/{branch}", squash),
]
