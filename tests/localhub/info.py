"""Repos as wholes: finding and showing them, making, moving and deleting them, their settings and who gets in."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

from tests.localhub import access
from tests.localhub.facts import Facts
from tests.localhub.http import HubError, Reply, Request, Route, paged
from tests.localhub.repos import KINDS, Repo

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

NAME = re.compile(r"(?!.*(--|\.\.))(?!.*\.git$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}(?<![.-])")
WORDS = """author cardData createdAt disabled downloads gated lastModified library_name likes model-index modelId
    pipeline_tag private sha siblings spaces tags usedStorage safetensors"""
BASIC = WORDS.split()
LISTED = [
    "author",
    "createdAt",
    "gated",
    "lastModified",
    "library_name",
    "modelId",
    "pipeline_tag",
    "private",
    "sha",
    "tags",
]
EXPANDABLE = (*BASIC, "baseModels", "evalResults", "resourceGroup", "trendingScore", "gguf", "config")


def url_of(hub: LocalHub, repo: Repo) -> str:
    return hub.endpoint + repo.url_path


def create(hub: LocalHub, request: Request) -> Reply:
    wish = request.json()
    caller = access.logged_in(request)
    kind, namespace = f"{wish.get('type') or 'model'}s", str(wish.get("organization") or caller.name)
    if kind not in KINDS or not isinstance(wish.get("name"), str) or not NAME.fullmatch(wish["name"]):
        raise HubError(400, f"Invalid repo name or type: {wish.get('name')!r}, {wish.get('type')!r}")
    name = f"{namespace}/{wish['name']}"
    assert caller.token is not None
    if caller.token.role == "publisher":
        raise HubError(401, "This token cannot create repos")
    with hub.lock:
        if not caller.may_create(namespace):
            raise HubError(403, f'You don\'t have the rights to create a {kind[:-1]} under the namespace "{namespace}"')
        if (kind, name) in hub.repos:
            url = url_of(hub, hub.repos[kind, name])
            raise HubError(409, f"You already created this {kind[:-1]} repo: {name}", body={"url": url})
        private = wish.get("visibility") == "private" or bool(wish.get("private"))
        repo = hub.create_repo(kind, name, private=private, author=caller.name)
    return Reply.json({"url": url_of(hub, repo), "name": name, "id": repo.id})


def delete(hub: LocalHub, request: Request) -> Reply:
    wish = request.json()
    kind = f"{wish.get('type') or 'model'}s"
    name = f"{wish.get('organization') or access.logged_in(request).name}/{wish.get('name')}"
    with hub.lock:
        repo = access.writable(hub, request, kind, name)
        del hub.repos[kind, name]
        shutil.rmtree(repo.path)
    return Reply()


def move(hub: LocalHub, request: Request) -> Reply:
    wish = request.json()
    kind, old, new = f"{wish.get('type') or 'model'}s", str(wish.get("fromRepo")), str(wish.get("toRepo"))
    with hub.lock:
        repo = access.writable(hub, request, kind, old)
        if not access.caller_of(request).may_create(new.split("/")[0]):
            raise HubError(403, f"You don't have the rights to move a repo to {new}")
        if (kind, new) in hub.repos:
            raise HubError(409, f"{new} already exists")
        path = hub.data / kind / f"{new}.git"
        path.parent.mkdir(parents=True, exist_ok=True)
        repo.path.rename(path)
        del hub.repos[kind, old]
        repo.name, repo.path, repo.store.path = new, path, path
        hub.repos[kind, new] = repo
        hub.moved[kind, old] = new
    return Reply()


def settings(hub: LocalHub, request: Request, kind: str, ns: str, name: str) -> Reply:
    wish = request.json()
    with hub.lock:
        repo = access.writable(hub, request, kind, f"{ns}/{name}")
        if wish.get("gated", False) not in ("auto", "manual", False):
            raise HubError(400, '"gated" must be one of [auto, manual, false]')
        if wish.get("visibility", "public") not in ("public", "private"):
            raise HubError(400, '"visibility" must be one of [public, private]')
        if "visibility" in wish or "private" in wish:
            repo.private = wish.get("visibility") == "private" or bool(wish.get("private"))
        repo.gated = wish.get("gated", repo.gated)
    return Reply.json({"private": repo.private, "gated": repo.gated})


def auth_check(hub: LocalHub, request: Request, kind: str, ns: str, name: str, write: str = "") -> Reply:
    if write:
        access.writable(hub, request, kind, f"{ns}/{name}")
    else:
        access.readable(hub, request, kind, f"{ns}/{name}")
    return Reply.json({})


def ask_access(hub: LocalHub, request: Request, kind: str, ns: str, name: str) -> Reply:
    """Asking for a gated repo: ``auto`` grants at once."""
    caller = access.logged_in(request)
    repo = access.find(hub, request, kind, f"{ns}/{name}")
    if repo.gated == "auto" and caller.name:
        repo.granted.add(caller.name)
    return Reply.json({})


def grant_access(hub: LocalHub, request: Request, kind: str, ns: str, name: str) -> Reply:
    repo = access.writable(hub, request, kind, f"{ns}/{name}")
    user = request.json().get("user")
    if user not in hub.accounts.users:
        raise HubError(404, f"User {user} not found")
    repo.granted.add(user)
    return Reply.json({})


def show(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str = "main") -> Reply:
    repo = access.find(hub, request, kind, f"{ns}/{name}")
    wanted = request.args("expand")
    if unknown := [key for key in wanted if key not in EXPANDABLE]:
        raise HubError(400, f'"expand" must be one of {list(EXPANDABLE)}; got {unknown[0]!r}')
    return Reply.json(_told(Facts(hub, repo, rev, blobs=request.flag("blobs")), wanted or BASIC, wanted))


def _told(facts: Facts, keys: list[str], wanted: list[str]) -> dict[str, Any]:
    """The facts of these names; empty ones only when they were asked for."""
    told = {key: facts.get(key) for key in keys}
    kept = {key: value for key, value in told.items() if value is not None or key in wanted}
    return {"_id": facts.repo.id, "id": facts.repo.name, **kept}


def browse(hub: LocalHub, request: Request, kind: str) -> Reply:
    """The repos of a kind that the caller may know of, by author, words in the name and tags."""
    if kind not in KINDS:
        raise HubError(404, f"Cannot GET {request.path}")
    caller, wanted = access.caller_of(request), request.args("expand")
    author, words, needed = request.arg("author"), request.arg("search").lower(), set(request.args("filter"))
    rows = []
    for repo in [repo for repo in list(hub.repos.values()) if repo.kind == kind]:
        hidden = repo.private and not caller.may_read_private(kind, repo.name)
        if hidden or author not in ("", repo.name.split("/")[0]) or words not in repo.name.lower():
            continue
        facts = Facts(hub, repo, "main", blobs=False)
        if needed <= set(facts.get("tags")):
            rows.append(_told(facts, wanted or LISTED, wanted))
    return paged(hub.endpoint, request, rows, min(int(request.arg("limit") or hub.page_size), hub.page_size))


ROUTES: list[Route] = [
    ("POST", "/api/repos/create", create),
    ("DELETE", "/api/repos/delete", delete),
    ("POST", "/api/repos/move", move),
    ("PUT", "/api/{kind}/{ns}/{name}/settings", settings),
    ("GET", "/api/{kind}/{ns}/{name}/auth-check", auth_check),
    ("GET", "/api/{kind}/{ns}/{name}/auth-check/{write}", auth_check),
    ("POST", "/api/{kind}/{ns}/{name}/user-access-request/grant", grant_access),
    ("POST", "/api/{kind}/{ns}/{name}/ask-access", ask_access),
    ("GET", "/api/{kind}", browse),
    ("GET", "/api/{kind}/{ns}/{name}/revision/{rev}", show),
    ("GET", "/api/{kind}/{ns}/{name}", show),
]
