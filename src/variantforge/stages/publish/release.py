"""What one repo will hold, gathered from artifacts: regular files of known kinds, no paths of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from variantforge.errors import PublishError
from variantforge.hashing import file_digest, text_digest
from variantforge.stages.publish.pins import pins_digest, read_pins
from variantforge.step import Step

MANIFEST = "variantforge.json"

# What model folders may bring along; anything else (a pickle, a log, a checkpoint) stays behind.
_KINDS = frozenset({".json", ".safetensors", ".jinja", ".model", ".txt", ".gguf"})
_SETTINGS = frozenset({"config.json", "adapter_config.json", "tokenizer_config.json"})

Content = Path | str  # a file of an artifact, or a text
Digest = dict[str, Any]  # {"sha256": 64 hex digits, "size_bytes": int}


@dataclass
class Contents:
    """``files``: path in the repo -> content. ``left``: what an artifact held and the repo will not."""

    files: dict[str, Content] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def add_folder(self, folder: Path, names: Callable[[str], bool] = lambda name: True) -> None:
        """Takes a model folder's files. Raises PublishError when it is not there or holds more than plain files."""
        if not folder.is_dir():
            raise PublishError(f"there is no {folder.name}/ to publish", why="The step before made something else.")
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise PublishError(f"{name} is not a regular file", why="Only plain files are published.")
            if path.is_dir() or not names(name):
                continue
            if path.suffix not in _KINDS:
                self.left.append(name)
            elif path.name in _SETTINGS:
                self.files[name] = without_local_paths(path.read_text())
            else:
                self.files[name] = path


def without_local_paths(text: str) -> str:
    """Settings as the Hub should hold them: libraries note down the folder they loaded from; others lack it."""
    settings: dict[str, Any] = json.loads(text)
    local = [
        key
        for key, value in settings.items()
        if key.endswith("name_or_path") and isinstance(value, str) and _local(value)
    ]
    if not local:
        return text
    kept = {key: value for key, value in settings.items() if key not in local}
    return json.dumps(kept, indent=2, ensure_ascii=False) + "\n"


def _local(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or "\\" in name


def adapter_config(text: str, base_model: str, revision: str) -> str:
    """PEFT notes the folder its base was loaded from; others need the base's real name."""
    config: dict[str, Any] = json.loads(text)
    config |= {"base_model_name_or_path": base_model or None, "revision": revision or None}
    return json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def digest_of(content: Content) -> Digest:
    if isinstance(content, str):
        return {"sha256": text_digest(content), "size_bytes": len(content.encode())}
    return {"sha256": file_digest(content), "size_bytes": content.stat().st_size}


def manifest_text(step: Step, files: Mapping[str, Digest], card: Mapping[str, Any]) -> str:
    """``variantforge.json``: what the repo is, the key of every step it comes of, what gates said, and the digest of
    every other file; ``card`` are the facts of its card. ``recipe`` and ``made_from`` are what ``step`` is the
    hash of: with them, who has only the Hub can put the repo back into a store. ``pins`` are the bases and data that
    this very repo rests on, ``lock`` is their digest; ``versions`` are those of the tools that made what it holds, as
    noted when they made it. ``forced``: what ships although a gate refused it, and the reason that was given.

    No version of the family, of its lock or of today's tools: a repo that a release leaves as it was stays the same
    bytes.
    """
    pins = step.hints["pins"]
    manifest = {
        "made_by": "variantforge",
        "format": 1,
        **{name: step.params[name] for name in ("family", "variant", "form", "repo")},
        "step": step.key,
        "recipe": {"version": step.version, "method": step.method, "params": dict(step.params)},
        "made_from": dict(step.inputs),
        "pins": pins,
        "lock": pins_digest(read_pins(pins) or {}),
        "versions": card["versions"],
        "steps": card["steps"],
        "gates": card["verdicts"],
        **({"forced": card["forced"]} if "forced" in card else {}),
        "withheld": card["withheld"],
        "files": dict(files),
    }
    return json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
