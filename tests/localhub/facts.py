"""What can be said of one revision of a repo: the fields of /api/models/R, read from its files."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from tests.localhub import cards
from tests.localhub.accounts import object_id
from tests.localhub.repos import Entry, Repo

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

MAX_HEADER = 100 << 20  # bytes, of a safetensors file


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


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
                rows += [{"filename": path, "verified": False, "data": cards.plain(row)} for row in read or []]
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
