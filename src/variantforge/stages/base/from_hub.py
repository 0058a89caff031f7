"""A pinned model on the Hub as a local folder: the small files first, then exactly the weights that belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from variantforge.errors import BaseError
from variantforge.stages.base.files import INDEX, SMALL_FILES, read_json
from variantforge.stages.models import quiet

_TEXTS = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")


def fetch(at: str) -> Path:
    """``hub:org/name@commit`` -> its snapshot in the Hub client's own cache. Raises BaseError when out of reach."""
    name, _, commit = at.removeprefix("hub:").partition("@")
    folder = _snapshot(name, commit, [*SMALL_FILES, *_TEXTS, INDEX])
    index = folder / INDEX
    weights: Any = read_json(index).get("weight_map") if index.is_file() else {"": "model.safetensors"}
    if not isinstance(weights, dict):
        raise BaseError(f"{name}: {INDEX} has no weight_map")
    wanted = sorted({str(file) for file in weights.values() if str(file).endswith(".safetensors")})
    return _snapshot(name, commit, [*SMALL_FILES, *_TEXTS, INDEX, *wanted])


def _snapshot(name: str, commit: str, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            return Path(snapshot_download(name, revision=commit, allow_patterns=files))
    except Exception as error:  # offline mode, no route, gated, a proxy: the client raises many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BaseError(
            f"{name} at commit {commit[:12]} cannot be fetched from the Hub",
            why=reason,
            next=f"run the same command again when the Hub can be reached, or: hf download {name} --revision {commit}",
        ) from error
