"""Small families to release on the local hub, and what must hold of the hub at every moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.localhub import LocalHub
from variantforge.hashing import text_digest, tree_digest
from variantforge.release.desired import Desired, DesiredRepo, File
from variantforge.release.hub import Hub, Patience
from variantforge.release.journal import Releases
from variantforge.release.planning import ReleasePlan, plan_release
from variantforge.release.record import (
    LINEAGE,
    CollectionRecord,
    FileDigest,
    Item,
    Lineage,
    parse_lineage,
    parse_record,
)
from variantforge.release.transaction import ReleaseReport, release
from variantforge.stages.card.managed import card_text, managed
from variantforge.stages.card.repos import PAGE

FAMILY, INDEX = "toys", "acme/toys"
MERGED, ADAPTER, GGUF = "acme/toys-code", "acme/toys-code-LoRA", "acme/toys-code-GGUF"
WEIGHTS = {
    MERGED: {"model.safetensors": b"merged weights", "notes.txt": b"how it was made"},
    ADAPTER: {"adapter_model.safetensors": b"adapter weights"},
    GGUF: {"toys-code-Q4_K_M.gguf": b"GGUF four bits", "toys-code-Q8_0.gguf": b"GGUF eight bits"},
}


def client(hub: LocalHub, **more: Any) -> Hub:
    """A client that waits for nothing."""
    patience = Patience(down_s=20, busy_s=20)
    return Hub(hub.endpoint, more.pop("token", hub.token), pause=lambda seconds: None, patience=patience, **more)


def desired(
    folder: Path,
    version: str = "1.0.0",
    contents: Mapping[str, Mapping[str, bytes]] = WEIGHTS,
    cards: Mapping[str, str] | None = None,
    **more: Any,
) -> Desired:
    """A family whose files are written under ``folder``; ``cards``: repo -> body of its card."""
    cards = cards or {}
    repos = {repo: lay_out(folder / version, repo, files, cards.get(repo, "")) for repo, files in contents.items()}
    page = folder / version / "page.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(card_text({"license": "mit"}, cards.get(INDEX, "# The family of toys")))
    index = DesiredRepo(INDEX, {PAGE: File(page, text_digest(page.read_text()), page.stat().st_size)})
    collection = CollectionRecord("Toys", "Small things", tuple(Item(repo, f"note of {repo}") for repo in contents))
    wanted = Desired(FAMILY, version, "stable", "public", "no", repos, index, {}, collection)
    return replace(wanted, **more)


def lay_out(folder: Path, repo: str, files: Mapping[str, bytes], body: str = "") -> DesiredRepo:
    place = folder / repo.replace("/", "--")
    place.mkdir(parents=True, exist_ok=True)
    written = {**files, PAGE: card_text({"license": "mit"}, body or f"# {repo}").encode()}
    for path, content in written.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    digests = {path: FileDigest(text_digest_of(content), len(content)) for path, content in written.items()}
    lineage = Lineage(FAMILY, repo, digests, {"form": "toy"}).text
    (place / LINEAGE).write_text(lineage)
    found = {path: File(place / path, digest.sha256, digest.size_bytes) for path, digest in digests.items()}
    return DesiredRepo(repo, {**found, LINEAGE: File(place / LINEAGE, text_digest(lineage), len(lineage))})


def text_digest_of(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def changed(contents: Mapping[str, Mapping[str, bytes]], repo: str, path: str, content: bytes | None) -> dict[str, Any]:
    """The contents with one file changed, added or (None) taken away."""
    files = {**contents[repo], path: content}
    return {**contents, repo: {name: data for name, data in files.items() if data is not None}}


def journal(folder: Path) -> Releases:
    return Releases(folder / "store" / "releases.sqlite")


def apply(hub: LocalHub, wanted: Desired, folder: Path, **more: Any) -> ReleaseReport:
    """Plan and release, as a process does that has just begun."""
    speaker = client(hub, **more)
    return release(plan_release(wanted, speaker), speaker, journal(folder))


def planned(hub: LocalHub, wanted: Desired, **more: Any) -> ReleasePlan:
    return plan_release(wanted, client(hub), **more)


def release_json(hub: LocalHub, branch: str = "main") -> dict[str, Any]:
    return dict(json.loads(hub.read(INDEX, "release.json", branch)))


def tree_at(hub: LocalHub, repo: str, revision: str) -> str:
    """The tree digest of a revision, from the bytes that the hub really holds."""
    lineage = parse_lineage(hub.read(repo, LINEAGE, revision), repo)
    digests = {}
    for path in sorted(lineage.paths):
        content = hub.read(repo, path, revision)
        digests[path] = text_digest_of(managed(content.decode()).encode() if path == PAGE else content)
    return tree_digest(digests)


def check_whole(hub: LocalHub) -> None:
    """What must hold at every moment: what release.json names is there, and is what it says."""
    if ("models", INDEX) not in hub.repos:
        return
    for branch in hub.repo(INDEX).branches():
        if "release.json" not in hub.repo(INDEX).files(branch):
            continue
        record = parse_record(hub.read(INDEX, "release.json", branch), branch)
        for repo, released in record.repos.items():
            assert tree_at(hub, repo, released.commit) == released.tree


def check_exposed(hub: LocalHub, branch: str = "main") -> None:
    """What must hold when a release is done."""
    check_whole(hub)
    record = parse_record(hub.read(INDEX, "release.json", branch), branch)
    for repo, released in record.repos.items():
        assert tree_at(hub, repo, branch) == released.tree
        assert hub.repo(repo).tags()[record.tag] == released.commit
        assert hub.repo(repo).private == (record.visibility == "private")
        assert not [name for name in hub.repo(repo).branches() if name.startswith("vf/")]
    assert record.tag in hub.repo(INDEX).tags()
    assert hub.repo(INDEX).private == (record.visibility == "private")


def end_state(hub: LocalHub, branch: str = "main") -> dict[str, Any]:
    """Everything that a release decides, without the names of commits (they hold times)."""
    state: dict[str, Any] = {}
    for (_, name), repo in sorted(hub.repos.items()):
        refs = {**repo.branches(), **{f"tag {tag}": oid for tag, oid in repo.tags().items()}}
        for ref, oid in refs.items():
            files = {path: hub.read(name, path, oid) for path in repo.files(oid)}
            files.pop("release.json", None)
            state[f"{name} {ref}"] = files
        state[name] = (repo.private, repo.gated, len(repo.commits(branch)))
    state["collections"] = [
        (
            one["title"],
            one["description"],
            one["private"],
            [(item["id"], item["note"]["text"]) for item in one["items"]],
        )
        for one in hub.collections.values()
    ]
    return state
