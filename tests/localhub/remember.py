"""Keeping a hub over restarts: repos are found on the disk, all else is in ``hub.json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.localhub.repos import KINDS, Repo

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub


def save(hub: LocalHub) -> None:
    """Writes ``hub.json``; no account and no token is in it."""
    kept: dict[str, Any] = {"collections": hub.collections, "repos": {}}
    for repo in hub.repos.values():
        settings = {"private": repo.private, "gated": repo.gated, "granted": sorted(repo.granted)}
        kept["repos"][f"{repo.kind}/{repo.name}"] = {**settings, "discussions": repo.discussions}
    (hub.data / "hub.json").write_text(json.dumps(kept, indent=1) + "\n")


def load(hub: LocalHub) -> None:
    """Finds what an earlier hub left in the same folder."""
    file = hub.data / "hub.json"
    kept = json.loads(file.read_text()) if file.exists() else {"collections": {}, "repos": {}}
    hub.collections.update(kept["collections"])
    for kind in KINDS:
        for path in sorted((hub.data / kind).glob("*/*.git")):
            repo = Repo(kind, f"{path.parent.name}/{path.stem}", path, path.stat().st_ctime)
            settings = kept["repos"].get(f"{kind}/{repo.name}", {"private": True})
            repo.private, repo.gated = settings["private"], settings.get("gated", False)
            repo.granted, repo.discussions = set(settings.get("granted", ())), settings.get("discussions", [])
            hub.repos[kind, repo.name] = repo
