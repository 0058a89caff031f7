"""Quantized transformers folders: what all of them carry over from the merged model, and what is told of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import WrongQuantizationConfig
from variantforge.fsops import copy_file
from variantforge.stages.base.safetensors_header import TensorInfo, read_safetensors_header

if TYPE_CHECKING:
    import torch

_COPIED = ("tokenizer*", "*.jinja", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt")
_PROBE_TOKENS = 32
SETTINGS = "quantization_config"  # of config.json: its presence says that a folder is quantized, and how


def copy_tokenizer(source: Path, target: Path) -> None:
    for pattern in _COPIED:
        for file in source.glob(pattern):
            copy_file(file, target / file.name)


def refuse_quantized(source: Path) -> None:
    """Raises WrongQuantizationConfig when the folder says that it is quantized already.

    Such a block left behind in full weights makes every loader read them as what they are not.
    """
    settings = json.loads((source / "config.json").read_text()).get(SETTINGS)
    if settings is not None:
        how = settings.get("quant_method", "unnamed") if isinstance(settings, dict) else "unnamed"
        raise WrongQuantizationConfig(
            f"the merged model's config.json holds a {SETTINGS} ({how}), and its weights are not quantized",
            why="Whoever loads it would take full weights for quantized ones. A step before this one left the block.",
            next="remove the merge from the store (variantforge verify names what is damaged), and apply again",
        )


def probe_logits(model: torch.nn.Module) -> torch.Tensor:
    """What the model says to a few fixed tokens: ``[tokens, vocabulary]``."""
    import torch

    vocabulary = model.get_input_embeddings().num_embeddings
    tokens = torch.arange(_PROBE_TOKENS).mul(7919).remainder(vocabulary)[None]  # spread over the vocabulary
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=tokens).logits[0].float()
    return logits


def folder_facts(
    format: str, folder: Path, parameters: int, type_of: Callable[[str, TensorInfo], str | None]
) -> dict[str, Any]:
    """``type_of`` names the type of a weight, and is None of what only belongs to one (scales, shapes)."""
    parts = sorted(folder.glob("*.safetensors"))
    types = [type_of(name, tensor) for part in parts for name, tensor in read_safetensors_header(part).items()]
    return {
        "format": format,
        "file": "model",
        "size_bytes": sum(part.stat().st_size for part in parts),
        "bits_per_weight": round(8 * sum(map(_data_bytes, parts)) / parameters, 4),
        "tensor_types": dict(sorted(Counter(type for type in types if type).items())),
    }


def _data_bytes(part: Path) -> int:
    """Bytes of a safetensors file behind its header (8 bytes of length, then that many)."""
    with open(part, "rb") as file:
        return part.stat().st_size - 8 - int.from_bytes(file.read(8), "little")
