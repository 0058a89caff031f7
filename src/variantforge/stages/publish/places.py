"""Where a family published into a folder lies, and whose it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from variantforge.errors import PublishError, VariantforgeError
from variantforge.fsops import is_temp
from variantforge.stages.card.repos import PAGE, PAGE_MANIFEST
from variantforge.stages.publish.release import MANIFEST
from variantforge.step import Step


@lru_cache(maxsize=16)  # one answer for the thousands of steps of a family
def published_at(folder: Path, path: str) -> str:
    """The folder published into. The family's own folder is resolved already."""
    return os.path.normpath(folder / Path(path).expanduser())


def root_of(step: Step) -> Path:
    return Path(step.hints["folder"])


def stands(step: Step) -> tuple[str, str, str]:
    """The folder written into, what would be replaced there, and the manifest that makes it ours. As texts: a plan asks
    this of thousands of steps."""
    root = str(step.hints["folder"])
    if step.params["form"] == "family":
        return root, os.path.join(root, PAGE), os.path.join(root, PAGE_MANIFEST)
    folder = os.path.join(root, str(step.params["repo"]).rpartition("/")[2])
    return folder, folder, os.path.join(folder, MANIFEST)


def folder_of(step: Step) -> Path:
    return root_of(step) / str(step.params["repo"]).rpartition("/")[2]


def problem_at(step: Step) -> str:
    """Why nothing can be published there, known before anything runs; or ''."""
    folder, thing, manifest = stands(step)
    if step.params["form"] == "family":
        if file := _file_in_the_way(Path(folder)):
            return f"{file} is a file: no folder can be made there"
        family = step.params["family"]
        if (owner := manifest_in(Path(manifest)).get("family", family)) != family:
            return f"{folder} holds the family '{owner}'; another one needs a folder of its own"
    if not os.path.exists(thing) or os.path.exists(manifest) or _empty(Path(thing)):  # noqa: PTH110
        return ""
    return f"{thing} is there already and was not published by variantforge; it will not be overwritten"


def _file_in_the_way(folder: Path) -> Path | None:
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    return nearest if nearest.exists() and not nearest.is_dir() else None


def _empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def manifest_in(path: Path) -> dict[str, Any]:
    """A manifest as it lies there; {} when it is missing or no longer JSON."""
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


@contextmanager
def telling_where(path: Path) -> Iterator[None]:
    """A place that cannot be written is the fault of publish.path here, not of the store."""
    try:
        yield
    except VariantforgeError as error:
        if type(error) is not VariantforgeError:
            raise
        raise PublishError(error.what, why=error.why, next="choose another publish.path in the family file") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise PublishError(
            f"{path} cannot be a folder: a file is in the way", next="choose another publish.path in the family file"
        ) from error


def temps_of(folder: Path) -> list[Path]:
    """What killed publications of this repo left beside it."""
    return [path for path in folder.parent.glob(f"{folder.name}.*") if is_temp(path)]


def published_before(folder: Path) -> Path | None:
    """The folder published last; after a kill between two renames it lies whole beside its place."""
    whole = [path for path in [folder, *sorted(temps_of(folder))] if (path / MANIFEST).is_file()]
    return whole[0] if whole else None
