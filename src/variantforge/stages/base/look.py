"""What can be known of a base model without loading it: read at plan time, once per process and pin.

Raises UnsafeFile for what can run code, BaseError for what cannot be a base model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from variantforge.errors import BaseError, UnsafeFile
from variantforge.stages.base.files import read_json, weight_files
from variantforge.stages.base.gguf_format import GgufHeader
from variantforge.stages.base.gguf_header import is_gguf, read_gguf_header
from variantforge.stages.base.safetensors_header import TensorInfo, read_safetensors_header
from variantforge.stages.base.unsafe import refuse_code, refuse_unsafe
from variantforge.step import Pin

MAX_TEMPLATE_CHARS = 1 << 18
LICENSE = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}")


@dataclass(frozen=True)
class BaseFacts:
    """What is known while planning; None where only the materialised base will tell (a base on the Hub)."""

    method: Literal["gguf", "folder", "hub"]
    name: str = ""
    architecture: str | None = None
    model_type: str | None = None
    parameters: int | None = None
    has_template: bool | None = None
    license: str | None = None  # '' when the base does not say


@lru_cache(maxsize=256)
def inspect_base(pin: Pin) -> BaseFacts:
    """Raises UnsafeFile or BaseError when the pinned bytes cannot be a base model."""
    if pin.at.startswith("hub:"):
        return BaseFacts("hub", name=pin.at.removeprefix("hub:").partition("@")[0])
    path = Path(pin.at)
    if path.is_dir():
        return _look_into_folder(path)
    if not is_gguf(path):
        refuse_unsafe(path)
        raise BaseError(f"{path.name} is not a GGUF file", next="point base.model at a .gguf file or at a model folder")
    return _look_into_gguf(read_gguf_header(path), path)


def _look_into_gguf(header: GgufHeader, path: Path) -> BaseFacts:
    if not header.length("tokenizer.ggml.tokens"):
        raise BaseError(f"{path.name} carries no tokenizer", why="tokenizer.ggml.tokens is missing or empty")
    template = header.text("tokenizer.chat_template")
    check_template(template, path.name)
    return BaseFacts(
        "gguf",
        name=gguf_name(header),
        architecture=header.architecture,
        model_type=header.architecture,
        parameters=header.elements,
        has_template=bool(template),
        license=one_license(header.metadata.get("general.license")),
    )


def gguf_name(header: GgufHeader) -> str:
    """What the file says it is called: general.name, else general.basename."""
    return header.text("general.name") or header.text("general.basename")


def _look_into_folder(folder: Path) -> BaseFacts:
    config = read_config(folder)
    tensors = read_inventory(folder)
    return BaseFacts(
        "folder",
        name=str(config.get("_name_or_path") or ""),
        architecture=_first(config.get("architectures")),
        model_type=config["model_type"],
        parameters=sum(info.elements for info in tensors.values()),
        has_template=_folder_has_template(folder),
        license=folder_license(folder, config),
    )


def _first(names: Any) -> str | None:
    return str(names[0]) if isinstance(names, list) and names else None


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder, refused when it asks for code or is quantized already."""
    if not (folder / "config.json").is_file():
        weight_files(folder)  # an adapter or a folder of pickles has the better explanation
        raise BaseError(f"{folder.name}/ has no config.json", next="point base.model at a complete model folder")
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        if (folder / name).is_file():
            refuse_code(read_json(folder / name), f"{folder.name}/{name}")
    config = read_json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise BaseError(f"{folder.name}/config.json names no model_type")
    if quantization := config.get("quantization_config"):
        kind = quantization.get("quant_method", "?") if isinstance(quantization, Mapping) else "?"
        raise BaseError(
            f"{folder.name}/ is quantized already ({kind})",
            why="Training and merging start from full weights.",
            next="use the original model as base",
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise BaseError(f"{folder.name}/ has no tokenizer", why="neither tokenizer.json nor tokenizer.model is there")
    return config


def read_inventory(folder: Path) -> dict[str, TensorInfo]:
    """All tensors of a model folder from the headers of its safetensors files; no tensor is loaded."""
    tensors: dict[str, TensorInfo] = {}
    for path in weight_files(folder):
        refuse_unsafe(path)
        for name, info in read_safetensors_header(path).items():
            if name in tensors:
                raise BaseError(f"{folder.name}/: tensor {name!r} stands in two files")
            tensors[name] = info
    if not tensors:
        raise BaseError(f"{folder.name}/ holds no tensors")
    return tensors


def _folder_has_template(folder: Path) -> bool:
    template_file = folder / "chat_template.jinja"
    if template_file.is_file():
        check_template(template_file.read_text("utf-8", "replace"), template_file.name)
        return template_file.stat().st_size > 0
    if (folder / "chat_template.json").is_file():
        return bool(read_json(folder / "chat_template.json").get("chat_template"))
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_json(config).get("chat_template"))


def check_template(template: str, name: str) -> None:
    """Raises UnsafeFile for a template of absurd size (rendering it is bounded by nothing else)."""
    if len(template) > MAX_TEMPLATE_CHARS:
        raise UnsafeFile(f"the chat template in {name} has {len(template):,} characters")


def folder_license(folder: Path, config: dict[str, Any]) -> str:
    """The licence that a model folder names, or ''. README.md is no part of a pin: whoever plans asks here again."""
    return one_license(config.get("license")) or readme_license(folder)


def readme_license(folder: Path) -> str:
    """The licence named in the front matter of README.md, or ''. ``license: other`` gives its license_name."""
    readme = folder / "README.md"
    if not readme.is_file():
        return ""
    with open(readme, encoding="utf-8", errors="replace") as file:
        front = file.read(1 << 16)
    if not front.startswith("---"):
        return ""
    fields = dict(_top_level_fields(front.split("\n---", 1)[0]))
    named = fields.get("license", "")
    return one_license(fields.get("license_name") if named == "other" else named) or one_license(named)


def _top_level_fields(front: str) -> list[tuple[str, str]]:
    """``key: value`` lines that begin a line; lists of one entry (``key:`` then ``- value``) as that entry."""
    pairs = re.findall(r"^(\w+):[ \t]*(?:\n\s*-[ \t]+)?([^\n#]*)", front, flags=re.MULTILINE)
    return [(key, value.strip().strip("'\"[]").strip()) for key, value in pairs]


def one_license(value: object) -> str:
    """A licence id in lower case (SPDX ids are told apart without case), or '' for what is none."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    named = value.strip().lower() if isinstance(value, str) else ""
    return named if LICENSE.fullmatch(named) and named not in ("unknown", "none") else ""
