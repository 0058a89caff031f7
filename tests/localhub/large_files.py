"""The ways of large files: the LFS batch API, its basic and multipart transfers, Xet tokens, and the storage origin."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.localhub import access
from tests.localhub.browse import ranged, storage_url
from tests.localhub.http import CHUNK, FileSlice, HubError, Reply, Request, Route

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

LFS_JSON = {"Content-Type": "application/vnd.git-lfs+json"}
XET_TOKEN_LIFE_S = 3600


# On the hub


def batch(hub: LocalHub, request: Request, ns: str, name: str, kind: str = "models") -> Reply:
    wish = request.json()
    name = name.removesuffix(".git")
    rows = []
    if wish.get("operation") == "upload":
        access.writable(hub, request, kind, f"{ns}/{name}", pull_request=True)
        multipart = "multipart" in wish.get("transfers", [])
        rows = [_upload_row(hub, f"{ns}/{name}", kind, item, multipart) for item in wish.get("objects", [])]
        chosen = "multipart" if any(_parts_of(row) for row in rows) else "basic"
    else:
        access.readable(hub, request, kind, f"{ns}/{name}")
        rows = [_download_row(hub, item) for item in wish.get("objects", [])]
        chosen = "basic"
    return Reply.json({"transfer": chosen, "objects": rows}, headers=LFS_JSON)


def _parts_of(row: dict[str, Any]) -> bool:
    return "chunk_size" in row.get("actions", {}).get("upload", {}).get("header", {})


def _upload_row(hub: LocalHub, name: str, kind: str, item: dict[str, Any], multipart: bool) -> dict[str, Any]:
    sha256, size = item["oid"], item["size"]
    row = {"oid": sha256, "size": size, "authenticated": True}
    if hub.storage.has(sha256):
        return row
    upload: dict[str, Any] = {"href": storage_url(hub, "PUT", sha256)}
    if multipart and size > hub.multipart_bytes:
        upload = _multipart(hub, sha256, size)
    prefix = "" if kind == "models" else f"/{kind}"
    verify = {"href": f"{hub.endpoint}{prefix}/{name}.git/info/lfs/objects/verify"}
    return {**row, "actions": {"upload": upload, "verify": verify}}


def _multipart(hub: LocalHub, sha256: str, size: int) -> dict[str, Any]:
    chunk = hub.multipart_bytes
    upload = hub.storage.sign(f"multipart {sha256} {hub.now()}")[:32]
    hub.uploads[upload] = {"sha256": sha256, "size": size, "etags": {}}
    header = {"chunk_size": str(chunk)}
    for number in range(1, math.ceil(size / chunk) + 1):
        signature = hub.storage.sign(f"PART {upload} {number}")
        header[f"{number:05}"] = f"{hub.storage_endpoint}/parts/{upload}/{number}?X-Signature={signature}"
    signature = hub.storage.sign(f"COMPLETE {upload}")
    return {"href": f"{hub.endpoint}/api/complete_multipart/{upload}?X-Signature={signature}", "header": header}


def _download_row(hub: LocalHub, item: dict[str, Any]) -> dict[str, Any]:
    row = {"oid": item["oid"], "size": item["size"], "authenticated": True}
    if not hub.storage.has(item["oid"]):
        return {**row, "error": {"code": 404, "message": "Object does not exist on the server"}}
    return {**row, "actions": {"download": {"href": storage_url(hub, "GET", item["oid"])}}}


def verify(hub: LocalHub, request: Request, ns: str, name: str, kind: str = "models") -> Reply:
    access.writable(hub, request, kind, f"{ns}/{name.removesuffix('.git')}", pull_request=True)
    wish = request.json()
    if hub.storage.size(str(wish.get("oid"))) != wish.get("size"):
        raise HubError(404, "The object is not there, or has another size")
    return Reply.json({"success": True}, headers=LFS_JSON)


def complete(hub: LocalHub, request: Request, upload: str) -> Reply:
    """Joins the parts of a multipart upload. Signed by its address, so no token is asked for."""
    hub.storage.check(f"COMPLETE {upload}", request.arg("X-Signature"))
    started = hub.uploads.get(upload)
    if started is None:
        raise HubError(404, "NoSuchUpload")
    named = {part["partNumber"]: str(part["etag"]).strip('"') for part in request.json().get("parts", [])}
    if named != started["etags"]:
        raise HubError(400, "InvalidPart: the parts are not those that were uploaded")
    folder = hub.storage.folder / "parts" / upload
    hub.storage.write(started["sha256"], _joined([folder / str(number) for number in sorted(named)]))
    shutil.rmtree(folder)
    del hub.uploads[upload]
    return Reply.json({"success": True})


def _joined(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            while block := file.read(CHUNK):
                yield block


def xet_token(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str, purpose: str) -> Reply:
    if not hub.xet:
        raise HubError(404, "Xet is not enabled for this repo")
    if purpose == "write":
        access.writable(hub, request, kind, f"{ns}/{name}", pull_request=request.flag("create_pr"))
    else:
        access.readable(hub, request, kind, f"{ns}/{name}")
    hub.storage.xet.mkdir(parents=True, exist_ok=True)
    url, expires = f"local://{hub.storage.xet}", int(hub.now()) + XET_TOKEN_LIFE_S
    token = f"xet-{purpose}-{hub.storage.sign(f'{kind}/{ns}/{name} {expires}')[:16]}"
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Token-Expiration": str(expires), "X-Xet-Access-Token": token}
    return Reply.json({"casUrl": url, "exp": expires, "accessToken": token}, headers=headers)


def xet_write_token(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str = "main") -> Reply:
    return xet_token(hub, request, kind, ns, name, rev, "write")


def xet_read_token(hub: LocalHub, request: Request, kind: str, ns: str, name: str, rev: str = "main") -> Reply:
    return xet_token(hub, request, kind, ns, name, rev, "read")


def duplicate(hub: LocalHub, request: Request, kind: str, ns: str, name: str) -> Reply:
    """Copying large files to another repo: they are stored by content, so only the rights are checked."""
    access.readable(hub, request, kind, f"{ns}/{name}")
    wish = request.json()
    target = wish["target"]
    access.writable(hub, request, f"{target['type']}s", target["name"])
    missing = [file for file in wish["files"] if not hub.storage.has(file["sha256"])]
    return Reply.json({"failed": [{"sha256": file["sha256"], "error": "not found"} for file in missing]})


# On the storage


def _no_authorization(hub: LocalHub, request: Request) -> None:
    if request.headers.get("Authorization"):
        hub.leaks.append(f"{request.method} {request.path}")
        raise HubError(400, "Only one auth mechanism allowed: the address is signed, yet a token came with it")


def put_object(hub: LocalHub, request: Request, sha256: str) -> Reply:
    _no_authorization(hub, request)
    hub.storage.check(f"PUT {sha256}", request.arg("X-Signature"))
    hub.storage.write(sha256, request.blocks())
    return Reply(200, b"", {"ETag": f'"{sha256}"'})


def get_object(hub: LocalHub, request: Request, sha256: str) -> Reply:
    _no_authorization(hub, request)
    hub.storage.check(f"GET {sha256}", request.arg("X-Signature"))
    path = hub.storage.open_path(sha256)
    headers = {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    return ranged(request, FileSlice(path, 0, path.stat().st_size), headers)


def put_part(hub: LocalHub, request: Request, upload: str, number: str) -> Reply:
    _no_authorization(hub, request)
    hub.storage.check(f"PART {upload} {number}", request.arg("X-Signature"))
    if upload not in hub.uploads:
        raise HubError(404, "NoSuchUpload")
    path = hub.storage.folder / "parts" / upload / number
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as file:
        for block in request.blocks():
            digest.update(block)
            file.write(block)
    hub.uploads[upload]["etags"][int(number)] = digest.hexdigest()
    return Reply(200, b"", {"ETag": f'"{digest.hexdigest()}"'})


ROUTES: list[Route] = [
    ("POST", "/{kind}/{ns}/{name}/info/lfs/objects/batch", batch),
    ("POST", "/{ns}/{name}/info/lfs/objects/batch", batch),
    ("POST", "/{kind}/{ns}/{name}/info/lfs/objects/verify", verify),
    ("POST", "/{ns}/{name}/info/lfs/objects/verify", verify),
    ("POST", "/api/complete_multipart/{upload}", complete),
    ("GET", "/api/{kind}/{ns}/{name}/xet-write-token/{rev}", xet_write_token),
    ("GET", "/api/{kind}/{ns}/{name}/xet-read-token/{rev}", xet_read_token),
    ("GET", "/api/{kind}/{ns}/{name}/xet-write-token", xet_write_token),
    ("GET", "/api/{kind}/{ns}/{name}/xet-read-token", xet_read_token),
    ("POST", "/api/{kind}/{ns}/{name}/lfs-files/duplicate", duplicate),
]
STORAGE: list[Route] = [
    ("PUT", "/objects/{sha256}", put_object),
    ("GET", "/objects/{sha256}", get_object),
    ("PUT", "/parts/{upload}/{number}", put_part),
]
