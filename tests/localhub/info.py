"""What the API tells of a repo: /api/models/R with ``expand``, its settings, making, moving and deleting it."""

from __future__ import annotations

import json
import re
import shutil
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from tests.localhub import access, cards
from tests.localhub.accounts import object_id
from tests.localhub.http import HubError, Reply, Request, Route
from tests.localhub.repos import KINDS, Entry, Repo

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

NAME = re.compile(r"(?!.*(--|\.\.))(?!.*\.git$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}(?<![.-])")
WORDS = """author cardData createdAt disabled downloads gated lastModified library_name likes model-index modelId
    pipeline_tag private sha siblings spaces tags usedStorage safetensors"""
BASIC = WORDS.split()
EXPANDABLE = (*BASIC, "baseModels", "evalResults", "resourceGroup", "trendingScore", "gguf", "config")
MAX_HEADER = 100 << 20


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


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
    facts = Facts(hub, repo, rev, blobs=request.flag("blobs"))
    told = {"_id": repo.id, "id": repo.name}
    for key in wanted or BASIC:
        value = facts.get(key)
        if value is not None or key in wanted:
            told[key] = value
    if not wanted and kind == "datasets":
        told.pop("modelId", None)
    return Reply.json(told)


class Facts:
    """All that can be said of one revision of a repo, worked out when it is asked for."""

    def __init__(self, hub: LocalHub, repo: Repo, rev: str, *, blobs: bool) -> None:
        self.hub, self.repo, self.blobs = hub, repo, blobs
        self.sha = repo.head(rev)
        self.entries = repo.entries(self.sha)
        readme = self.entries.get("README.md")
        self.card = cards.card_data(repo.read("README.md", self.sha).decode(errors="replace")) if readme else {}

    def get(self, key: str) -> Any:
        repo = self.repo
        fixed: dict[str, Any] = {
            "author": repo.name.split("/")[0],
            "createdAt": iso(repo.created),
            "disabled": False,
            "downloads": 0,
            "gated": repo.gated,
            "likes": 0,
            "modelId": repo.name,
            "private": repo.private,
            "sha": self.sha,
            "spaces": [],
            "cardData": self.card or None,
            "library_name": self.card.get("library_name"),
            "pipeline_tag": self.card.get("pipeline_tag"),
            "model-index": self.card.get("model-index"),
        }
        if key in fixed:
            return fixed[key]
        made = getattr(self, f"_{key}", None)
        return made() if made else None

    def _lastModified(self) -> str:
        return iso(self.repo.store.commit(self.sha).time)

    def _siblings(self) -> list[dict[str, Any]]:
        return [self._sibling(entry) for entry in self.entries.values()]

    def _sibling(self, entry: Entry) -> dict[str, Any]:
        told: dict[str, Any] = {"rfilename": entry.path}
        if self.blobs:
            told |= {"size": entry.size, "blobId": entry.blob}
            if entry.sha256:
                told["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
        return told

    def _tags(self) -> list[str]:
        return cards.tags(self.card, self.entries)

    def _usedStorage(self) -> int:
        return sum({entry.sha256: entry.size for entry in self.entries.values() if entry.sha256}.values())

    def _baseModels(self) -> dict[str, Any] | None:
        found = cards.base_models(self.card, self.entries)
        if found is None:
            return None
        return {"relation": found[0], "models": [{"_id": object_id("models", base), "id": base} for base in found[1]]}

    def _evalResults(self) -> list[Any]:
        rows: list[Any] = []
        for path in self.entries:
            if path.startswith(".eval_results/") and path.endswith((".yaml", ".yml")):
                read = yaml.safe_load(self.repo.read(path, self.sha))
                rows += [{"filename": path, "verified": False, "data": cards._plain(row)} for row in read or []]
        return rows

    def _config(self) -> Any:
        if "config.json" not in self.entries:
            return None
        config = json.loads(self.repo.read("config.json", self.sha))
        kept = ("architectures", "model_type", "quantization_config")
        return {key: config[key] for key in kept if key in config}

    def _safetensors(self) -> dict[str, Any] | None:
        """Parameters by type, counted from the headers of the repo's safetensors files."""
        counts: dict[str, int] = {}
        for entry in self.entries.values():
            if not entry.path.endswith(".safetensors") or not entry.sha256 or "/" in entry.path:
                continue
            if not self.hub.storage.path(entry.sha256).exists():
                return None
            for tensor in _safetensors_header(self.hub, entry.sha256):
                size = 1
                for side in tensor["shape"]:
                    size *= side
                counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + size
        return {"parameters": counts, "total": sum(counts.values())} if counts else None


def _safetensors_header(hub: LocalHub, sha256: str) -> list[dict[str, Any]]:
    with hub.storage.path(sha256).open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            header = json.loads(file.read(length)) if 0 < length < MAX_HEADER else {}
        except ValueError:
            return []
    return [tensor for name, tensor in header.items() if name != "__metadata__"]


ROUTES: list[Route] = [
    ("POST", "/api/repos/create", create),
    ("DELETE", "/api/repos/delete", delete),
    ("POST", "/api/repos/move", move),
    ("PUT", "/api/{kind}/{ns}/{name}/settings", settings),
    ("GET", "/api/{kind}/{ns}/{name}/auth-check", auth_check),
    ("GET", "/api/{kind}/{ns}/{name}/auth-check/{write}", auth_check),
    ("POST", "/api/{kind}/{ns}/{name}/user-access-request/grant", grant_access),
    ("POST", "/api/{kind}/{ns}/{name}/ask-access", ask_access),
    ("GET", "/api/{kind}/{ns}/{name}/revision/{rev}", show),
    ("GET", "/api/{kind}/{ns}/{name}", show),
]
