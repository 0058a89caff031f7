"""Which files of a model folder are read, and which never are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from variantforge.errors import BaseError, UnsafeFile

INDEX = "model.safetensors.index.json"
SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
)
MAX_JSON_BYTES = 1 << 26  # a tokenizer.json of 250,000 entries has some 35 MB
_TELLS_ONLY = ("readme", "license", "licence", "notice", ".git")  # text about a model or a dataset, not part of it


def pinned_files(folder: Path, *, model: bool) -> list[Path]:
    """The files whose bytes make a local folder what it is, sorted: those the base stage reads of a model folder,
    all but hidden files, README and LICENSE of any other."""
    if model:
        small = [folder / name for name in (*SMALL_FILES, INDEX)]
        return sorted(path for path in [*small, *folder.glob("*.safetensors")] if path.is_file())
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and is_pinned(path.relative_to(folder).as_posix(), model=False)
    )


def is_pinned(path: str, *, model: bool) -> bool:
    """Whether the file at this path below a folder or a repo is one of ``pinned_files``."""
    *folders, name = path.split("/")
    if model:
        return not folders and (name in SMALL_FILES or name == INDEX or name.endswith(".safetensors"))
    hidden = any(part.startswith(".") for part in (*folders, name))
    return not hidden and not name.lower().startswith(_TELLS_ONLY)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights, in order. Raises BaseError or UnsafeFile when there are none."""
    index = folder / INDEX
    if index.is_file():
        return _indexed(folder, index)
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    found = [path for path in sorted(folder.glob("*.safetensors")) if path.name != "adapter_model.safetensors"]
    if len(found) == 1:
        return found
    if found:
        raise BaseError(
            f"{folder.name}/ has {len(found)} safetensors files and no {INDEX} saying which belong together"
        )
    _explain_missing(folder)
    raise BaseError(f"{folder.name}/ holds no *.safetensors file", next="point base.model at a folder with the weights")


def _indexed(folder: Path, index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BaseError(f"{folder.name}/{INDEX} has no weight_map")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UnsafeFile(f"{folder.name}/{INDEX} names {name!r}, which is not a safetensors file beside it")
        if not (folder / name).is_file():
            raise BaseError(f"{folder.name}/{name} is missing", why=f"{INDEX} says that weights lie in it")
    return [folder / name for name in names]


def _explain_missing(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        raise BaseError(
            f"{folder.name}/ is an adapter, not a model",
            next="point base.model at the model it was trained on, or merge it first",
        )
    pickled = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".h5"))
    if pickled:
        raise UnsafeFile(
            f"{folder.name}/ holds its weights only as {pickled[0]}",
            why="Such a file can run code when it is loaded; it is not opened here.",
            next="use a safetensors version of the model (most repositories offer one beside it)",
        )
    ggufs = sorted(path.name for path in folder.glob("*.gguf"))
    if ggufs:
        raise BaseError(f"{folder.name}/ holds GGUF files", next=f"name one of them: base.model: {folder}/{ggufs[0]}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of foreign origin. Raises BaseError when it is not one, or is absurdly large."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise BaseError(f"{path.name} has {path.stat().st_size:,} bytes; more than {MAX_JSON_BYTES:,} are not read")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BaseError(f"{path.name} is not JSON: {str(error)[:120]}") from None
    if not isinstance(value, dict):
        raise BaseError(f"{path.name} holds no JSON object")
    return value
