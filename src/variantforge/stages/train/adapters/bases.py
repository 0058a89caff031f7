"""The base under an adapter: loaded as the adapter wants it, and known by the digest of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from variantforge.hashing import file_digest, text_digest
from variantforge.spec.family import AdapterSpec
from variantforge.stages.models import load_model, quiet
from variantforge.step import Artifact

if TYPE_CHECKING:
    from torch.nn import Module


def load_base(folder: Path, adapter: AdapterSpec, device: str, *, bf16: bool) -> Module:
    """NF4 or float32 as the adapter wants it, else bf16 (float32 where that is asked for)."""
    if adapter.over_nf4:
        return load_nf4(folder, device)
    model = load_model(folder, dtype="bfloat16" if bf16 and not adapter.over_float32 else "float32")
    return model.to(device)


def load_nf4(folder: Path, device: str) -> Module:
    """A base with its linear layers in NF4 (double quantization, bf16 arithmetic), as in the QLoRA paper."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            quantization_config=nf4,
            dtype=torch.bfloat16,
            device_map={"": device},
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    _keep_open_to_gradients(model)
    return model


def _keep_open_to_gradients(model: Module) -> None:
    """bitsandbytes repacks 4-bit weights at the first forward in eval mode on CPUs with AVX-512 BF16, for a kernel
    without a backward; a training that goes on from there sends no gradient through them."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def base_name(base: Artifact) -> str:
    """What an adapter's settings call its base: by its name; merged weights of another variant, by their artifact."""
    return f"merge/{base.key}" if "folded" in base.facts else str(base.facts["name"])


def base_digest(folder: Path) -> str:
    """What a base's weights are known by: one digest over those of its safetensors files (64 hex digits)."""
    files = sorted(folder.glob("*.safetensors"))
    return text_digest("".join(f"{path.name} {file_digest(path)}\n" for path in files))
