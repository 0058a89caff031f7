"""Collections: ordered lists of repos with notes, owned by a namespace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.localhub import access
from tests.localhub.accounts import Caller, object_id
from tests.localhub.facts import iso
from tests.localhub.http import HubError, Reply, Request, Route, paged
from tests.localhub.identity import entity_of

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

Collection = dict[str, Any]
TITLE, DESCRIPTION, NOTE = 60, 150, 500  # characters
TYPES = ("model", "dataset", "space", "paper", "collection", "bucket")


def slug_of(namespace: str, title: str, key: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f"{namespace}/{words}-{key}"


def _text(wish: dict[str, Any], key: str, limit: int) -> None:
    if len(str(wish.get(key) or "")) > limit:
        raise HubError(400, f'"{key}" length must be less than or equal to {limit} characters long')


def create(hub: LocalHub, request: Request) -> Reply:
    wish, caller = request.json(), access.logged_in(request)
    namespace, title = str(wish.get("namespace") or caller.name), str(wish.get("title") or "").strip()
    with hub.lock:
        if not caller.may_create(namespace, "collection.write"):
            raise HubError(403, f'You don\'t have the rights to create a collection under the namespace "{namespace}"')
        if not title:
            raise HubError(400, '"title" is not allowed to be empty')
        _text(wish, "title", TITLE)
        _text(wish, "description", DESCRIPTION)
        for known in hub.collections.values():
            if (known["namespace"], known["title"]) == (namespace, title):
                raise HubError(409, "This collection already exists", body={"slug": known["slug"]})
        key = object_id("collection", namespace, title, hub.now())
        made: Collection = {"_id": key, "namespace": namespace, "title": title, "slug": slug_of(namespace, title, key)}
        made |= {"description": wish.get("description"), "private": bool(wish.get("private")), "theme": "green"}
        made |= {"upvotes": 0, "lastUpdated": iso(hub.now()), "items": [], "position": len(hub.collections)}
        hub.collections[key] = made
    return Reply.json(shown(hub, made, caller))


def shown(hub: LocalHub, found: Collection, caller: Caller) -> Collection:
    """The collection as a caller sees it: items they may not know of are left out, empty fields too."""
    items = [item | {"position": at} for at, item in enumerate(found["items"]) if _visible(hub, item, caller)]
    told = {key: value for key, value in found.items() if value is not None and key not in ("namespace", "_id")}
    return {**told, "owner": entity_of(hub, found["namespace"]), "items": items}


def _visible(hub: LocalHub, item: dict[str, Any], caller: Caller) -> bool:
    repo = hub.repos.get((f"{item['type']}s", item["id"]))
    if repo is None:
        return item["type"] not in ("model", "dataset", "space")
    return not repo.private or caller.may_read_private(repo.kind, repo.name)


def find(hub: LocalHub, request: Request, ns: str, slug: str, *, write: bool = False) -> Collection:
    """A collection by its slug; the id at the slug's end decides, so old slugs go on working."""
    caller = access.caller_of(request)
    found = hub.collections.get(slug.rsplit("-", 1)[-1])
    if found is None or (found["private"] and caller.member_role(found["namespace"]) is None):
        raise HubError(404, "Collection not found")
    if write and not access.logged_in(request).may_create(found["namespace"], "collection.write"):
        raise HubError(403, "You don't have the rights to edit this collection")
    return found


def browse(hub: LocalHub, request: Request) -> Reply:
    caller = access.caller_of(request)
    owner, item = request.arg("owner"), request.arg("item")
    rows = []
    for found in hub.collections.values():
        names = [f"{row['type']}s/{row['id']}" for row in found["items"]]
        hidden = found["private"] and caller.member_role(found["namespace"]) is None
        if not hidden and owner in ("", found["namespace"]) and (not item or item in names):
            row = shown(hub, found, caller)
            del row["position"]
            rows.append(row | {"items": row["items"][:4]})
    return paged(hub.endpoint, request, rows, int(request.arg("limit") or 100))


def show(hub: LocalHub, request: Request, ns: str, slug: str) -> Reply:
    return Reply.json(shown(hub, find(hub, request, ns, slug), access.caller_of(request)))


def update(hub: LocalHub, request: Request, ns: str, slug: str) -> Reply:
    wish = request.json()
    with hub.lock:
        found = find(hub, request, ns, slug, write=True)
        _text(wish, "title", TITLE)
        _text(wish, "description", DESCRIPTION)
        kept = ("title", "description", "private", "theme", "position")
        found.update({key: wish[key] for key in kept if key in wish})
        found["slug"] = slug_of(found["namespace"], found["title"], found["_id"])
        found["lastUpdated"] = iso(hub.now())
    return Reply.json({"success": True, "data": shown(hub, found, access.caller_of(request))})


def delete(hub: LocalHub, request: Request, ns: str, slug: str) -> Reply:
    with hub.lock:
        del hub.collections[find(hub, request, ns, slug, write=True)["_id"]]
    return Reply.json({"success": True})


def add_item(hub: LocalHub, request: Request, ns: str, slug: str) -> Reply:
    wish = request.json()
    wanted = wish.get("item") or {}
    with hub.lock:
        found = find(hub, request, ns, slug, write=True)
        _text(wish, "note", NOTE)
        kind, name = wanted.get("type"), wanted.get("id")
        if kind not in TYPES:
            raise HubError(400, f'"item.type" must be one of [{", ".join(TYPES)}]')
        if kind in ("model", "dataset", "space"):
            access.find(hub, request, f"{kind}s", str(name))
        if any((item["type"], item["id"]) == (kind, name) for item in found["items"]):
            raise HubError(409, f"{name} is already in the collection")
        item: dict[str, Any] = {"_id": object_id(found["_id"], kind, name), "type": kind, "id": name}
        if wish.get("note"):
            item["note"] = {"html": wish["note"], "text": wish["note"]}
        found["items"].append(item)
        found["lastUpdated"] = iso(hub.now())
    return Reply.json(shown(hub, found, access.caller_of(request)))


def _item(found: Collection, key: str) -> dict[str, Any]:
    for item in found["items"]:
        if item["_id"] == key:
            return dict(item)
    raise HubError(404, "Collection item not found")


def update_item(hub: LocalHub, request: Request, ns: str, slug: str, item: str) -> Reply:
    wish = request.json()
    with hub.lock:
        found = find(hub, request, ns, slug, write=True)
        _text(wish, "note", NOTE)
        row, at = _item(found, item), [known["_id"] for known in found["items"]].index(item)
        if "note" in wish:
            row["note"] = {"html": wish["note"], "text": wish["note"]}
        found["items"][at] = row
        if "position" in wish:
            found["items"].insert(int(wish["position"]), found["items"].pop(at))
    return Reply.json({"success": True})


def delete_item(hub: LocalHub, request: Request, ns: str, slug: str, item: str) -> Reply:
    with hub.lock:
        found = find(hub, request, ns, slug, write=True)
        gone = _item(found, item)
        found["items"] = [row for row in found["items"] if row["_id"] != gone["_id"]]
    return Reply.json({"success": True})


ROUTES: list[Route] = [
    ("GET", "/api/collections", browse),
    ("POST", "/api/collections", create),
    ("GET", "/api/collections/{ns}/{slug}", show),
    ("PATCH", "/api/collections/{ns}/{slug}", update),
    ("DELETE", "/api/collections/{ns}/{slug}", delete),
    ("POST", "/api/collections/{ns}/{slug}/items", add_item),
    ("PATCH", "/api/collections/{ns}/{slug}/items/{item}", update_item),
    ("DELETE", "/api/collections/{ns}/{slug}/items/{item}", delete_item),
]
