"""``git clone`` and ``git fetch`` over HTTP, and a page for people who open a repo in a browser. Read only."""

from __future__ import annotations

import gzip
import html
import os
import subprocess
from typing import TYPE_CHECKING

from tests.localhub import access
from tests.localhub.http import HubError, Reply, Request, Route
from tests.localhub.repos import Repo

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

SERVICE = "git-upload-pack"


def _readable(hub: LocalHub, request: Request, kind: str, ns: str, name: str) -> Repo:
    try:
        return access.find(hub, request, kind, f"{ns}/{name.removesuffix('.git')}")
    except HubError as refused:
        if refused.status == 401:
            refused.headers = {"WWW-Authenticate": 'Basic realm="localhub", charset="UTF-8"'}
        raise


def _upload_pack(repo: Repo, request: Request, *args: str, body: bytes = b"") -> bytes:
    env = os.environ | {"GIT_PROTOCOL": request.headers.get("Git-Protocol") or "", "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-c", "safe.directory=*", "upload-pack", "--stateless-rpc", *args, str(repo.path)]
    return subprocess.run(command, input=body, env=env, stdout=subprocess.PIPE, check=True).stdout


def advertise(hub: LocalHub, request: Request, ns: str, name: str, kind: str = "models") -> Reply:
    repo = _readable(hub, request, kind, ns, name)
    if request.arg("service") != SERVICE:
        raise HubError(403, "This hub takes no git pushes: write with huggingface_hub")
    line = f"# service={SERVICE}\n"
    body = f"{len(line) + 4:04x}{line}0000".encode() + _upload_pack(repo, request, "--advertise-refs")
    headers = {"Content-Type": f"application/x-{SERVICE}-advertisement", "Cache-Control": "no-cache"}
    return Reply(200, body, headers)


def upload_pack(hub: LocalHub, request: Request, ns: str, name: str, kind: str = "models") -> Reply:
    repo = _readable(hub, request, kind, ns, name)
    body = gzip.decompress(request.body) if request.headers.get("Content-Encoding") == "gzip" else request.body
    return Reply(200, _upload_pack(repo, request, body=body), {"Content-Type": f"application/x-{SERVICE}-result"})


def page(hub: LocalHub, request: Request, ns: str, name: str, kind: str = "models") -> Reply:
    """What a browser sees: the files of main, and the card as it is written."""
    repo = access.find(hub, request, kind, f"{ns}/{name}")
    rows = [
        f'<li><a href="{repo.url_path}/resolve/main/{html.escape(path)}">{html.escape(path)}</a> {entry.size:,} bytes'
        for path, entry in repo.entries().items()
    ]
    card = repo.read("README.md").decode(errors="replace") if "README.md" in repo.entries() else ""
    title = html.escape(repo.name)
    body = (
        f"<!doctype html><title>{title}</title><h1>{title}</h1><ul>{''.join(rows)}</ul><pre>{html.escape(card)}</pre>"
    )
    return Reply(200, body.encode(), {"Content-Type": "text/html; charset=utf-8"})


def front(hub: LocalHub, request: Request) -> Reply:
    """All repos that the caller may know of."""
    caller = access.caller_of(request)
    repos = list(hub.repos.values())
    seen = [repo for repo in repos if not repo.private or caller.may_read_private(repo.kind, repo.name)]
    rows = [f'<li><a href="{repo.url_path}">{html.escape(repo.kind)}/{html.escape(repo.name)}</a>' for repo in seen]
    body = f"<!doctype html><title>local hub</title><h1>A local hub</h1><ul>{''.join(rows)}</ul>"
    return Reply(200, body.encode(), {"Content-Type": "text/html; charset=utf-8"})


ROUTES: list[Route] = [
    ("GET", "/", front),
    ("GET", "/{ns}/{name}/info/refs", advertise),
    ("GET", "/{kind}/{ns}/{name}/info/refs", advertise),
    ("POST", "/{ns}/{name}/git-upload-pack", upload_pack),
    ("POST", "/{kind}/{ns}/{name}/git-upload-pack", upload_pack),
    ("GET", "/{ns}/{name}", page),
    ("GET", "/{kind}/{ns}/{name}", page),
]
