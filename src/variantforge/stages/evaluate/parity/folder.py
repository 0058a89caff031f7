"""A transformers folder as it lies on disk: its quantization_config, and a head that reloading would drop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from variantforge.errors import WeightsDamaged, WrongQuantizationConfig

_HEAD = "lm_head.weight"
_EMBEDDINGS = ("model.embed_tokens.weight", "transformer.wte.weight", "gpt_neox.embed_in.weight")
_METHODS = {  # how a format's first word is spelled in quantization_config.quant_method
    "nf4": "bitsandbytes",
    "int8": "bitsandbytes",
    "fp8": "compressed-tensors",
    "w4a16": "compressed-tensors",
    "w8a8": "compressed-tensors",
    "gptq": "gptq",
    "awq": "awq",
}


def check_quantization(folder: Path, quantized_as: str) -> None:
    """``quantized_as``: a format such as ``nf4``; '' for merged weights. Raises WrongQuantizationConfig."""
    config = json.loads((folder / "config.json").read_text())
    found = config.get("quantization_config") or config.get("compression_config")
    if not quantized_as:
        if found is not None:
            raise WrongQuantizationConfig(
                "the merged weights still carry a quantization_config",
                why=f"config.json says {json.dumps(found)[:200]}, and the weights are not quantized: transformers and "
                "vLLM would read them as if they were.",
                next="remove the merge from the store (variantforge gc), and apply again",
            )
        return
    wanted, method = _METHODS.get(quantized_as.partition(":")[0]), (found or {}).get("quant_method")
    if found is None or (wanted and method != wanted):
        told = f"quant_method is {method!r}" if found else "there is none in config.json"
        raise WrongQuantizationConfig(
            f"the {quantized_as} folder has the wrong quantization_config",
            why=f"{told}; {f'{wanted!r}' if wanted else 'one'} is wanted. Without it, other weights are read.",
            next="quantize this variant again",
        )


def check_head(folder: Path) -> None:
    """Raises WeightsDamaged when the folder holds a head of its own, and its config says that there is none."""
    config = json.loads((folder / "config.json").read_text())
    if not _tied(config):
        return
    files = _tensors(folder)
    embeddings = next((name for name in _EMBEDDINGS if name in files), None)
    if _HEAD in files and embeddings and not _equal(files, _HEAD, embeddings):
        raise WeightsDamaged(
            "the output head would be lost when the merged weights are loaded",
            why=f"config.json ties it to the embeddings (tie_word_embeddings: true), and {_HEAD} is not {embeddings}.",
            next="do not train lm_head apart from the embeddings (train.adapter.target_modules, modules_to_save)",
        )


def _tied(config: dict[str, Any]) -> bool:
    text = config.get("text_config") or config
    return bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", True)))


def _tensors(folder: Path) -> dict[str, Path]:
    from safetensors import safe_open

    found: dict[str, Path] = {}
    for part in sorted(folder.glob("*.safetensors")):
        with safe_open(part, "pt") as file:
            found |= dict.fromkeys(file.keys(), part)
    return found


def _equal(files: dict[str, Path], one: str, other: str) -> bool:
    import torch
    from safetensors import safe_open

    with safe_open(files[one], "pt") as first, safe_open(files[other], "pt") as second:
        return bool(torch.equal(first.get_tensor(one), second.get_tensor(other)))
