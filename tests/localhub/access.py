"""Who gets to see or change a repo, refused in the Hub's own words and codes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.localhub.accounts import Caller
from tests.localhub.http import HubError, Request
from tests.localhub.repos import KINDS, Repo

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

SINGULAR = {kind: kind[:-1] for kind in KINDS}


def caller_of(request: Request) -> Caller:
    return request.caller or Caller()


def logged_in(request: Request) -> Caller:
    caller = caller_of(request)
    if caller.token is None:
        raise HubError(401, "Invalid username or password.")
    return caller


def find(hub: LocalHub, request: Request, kind: str, name: str) -> Repo:
    """The repo if the caller may know of it. Raises 404, or 401 for callers without a token, or 307 when it moved."""
    repo = hub.repos.get((kind, name))
    caller = caller_of(request)
    if repo is not None and (not repo.private or caller.may_read_private(kind, name)):
        return repo
    if (kind, name) in hub.moved:
        target = request.path.replace(name, hub.moved[kind, name], 1)
        raise HubError(307, "Moved", headers={"Location": urlsplit(target).path})
    if caller.token is None:
        raise HubError(401, "Invalid username or password.", "RepoNotFound")
    raise HubError(404, "Repository not found", "RepoNotFound")


def readable(hub: LocalHub, request: Request, kind: str, name: str) -> Repo:
    """The repo if the caller may read its files: a gated one asks for a grant."""
    repo = find(hub, request, kind, name)
    caller = caller_of(request)
    if not repo.gated or caller.member_role(name.split("/")[0]) or caller.name in repo.granted:
        return repo
    what = f"{SINGULAR[kind]} {name} is restricted"
    if caller.token is None:
        raise HubError(
            401,
            f"Access to {what}. You must have access to it and be authenticated to access it. Please log in.",
            "GatedRepo",
        )
    page = hub.endpoint + repo.url_path
    raise HubError(
        403, f"Access to {what} and you are not in the authorized list. Visit {page} to ask for access.", "GatedRepo"
    )


def writable(hub: LocalHub, request: Request, kind: str, name: str, *, pull_request: bool = False) -> Repo:
    """The repo if the caller may write it (or, for a pull request, read it with a token that writes)."""
    repo = find(hub, request, kind, name)
    caller = logged_in(request)
    if caller.may_write(kind, name):
        return repo
    assert caller.token is not None
    if caller.token.role == "read":
        raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
    if pull_request and caller.token.role == "write":
        return repo
    if caller.token.role == "write" and request.path.split("/")[5:6] == ["commit"]:
        raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
    raise HubError(403, f"Forbidden: you don't have the rights to write to {SINGULAR[kind]} {name}.")
