"""A pinned model on the Hub as a local folder: the small files first, then exactly the weights that belong together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from variantforge.errors import BaseError
from variantforge.redact import redacted
from variantforge.stages.base.files import INDEX, SMALL_FILES, read_json
from variantforge.stages.models import quiet

_TEXTS = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")


def fetch(at: str, progress: Callable[[int, int], None]) -> Path:
    """``hub:org/name@commit`` -> its snapshot in the Hub client's own cache; ``progress(done, total)`` counts weight
    files. Raises BaseError when the Hub is out of reach and something is missing."""
    name, _, commit = at.removeprefix("hub:").partition("@")
    with telling(name, commit):
        from huggingface_hub import hf_hub_download, snapshot_download

        small = [*SMALL_FILES, *_TEXTS, INDEX]
        folder = Path(snapshot_download(name, revision=commit, allow_patterns=small))
        wanted = _weights(folder)
        for done, file in enumerate(wanted):
            progress(done, len(wanted))
            hf_hub_download(name, file, revision=commit)
    progress(len(wanted), len(wanted))
    return folder


def _weights(folder: Path) -> list[str]:
    """The weight files that the index names, else the usual one; what the index has no right to name is left out (it is
    refused with its reason when the folder is read)."""
    if not (folder / INDEX).is_file():
        return ["model.safetensors"]
    weight_map: Any = read_json(folder / INDEX).get("weight_map")
    named = {str(file) for file in weight_map.values()} if isinstance(weight_map, dict) else set()
    return sorted(file for file in named if Path(file).name == file and file.endswith(".safetensors"))


@contextlib.contextmanager
def telling(name: str, commit: str) -> Iterator[None]:
    try:
        with quiet():
            yield
    except BaseError:
        raise
    except Exception as error:  # offline mode, no route, gated, a proxy: the client raises many kinds
        reason = (redacted(str(error)).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BaseError(
            f"{name} at commit {commit[:12]} cannot be fetched from the Hub",
            why=reason,
            next=f"run the same command again when the Hub can be reached, or: hf download {name} --revision {commit}",
        ) from error
