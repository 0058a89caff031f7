"""What a card says of a training: how method and adapter are called, and whether servers that load LoRA can load it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from variantforge.spec.family import AdapterSpec, TrainSpec
from variantforge.spec.owned_args import is_tracking
from variantforge.stages.card.markdown import Markdown, code

# The ranks that vLLM knows for --max-lora-rank (its MaxLoRARanks).
_VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Fields of LoraConfig after which the adapter is still one pair of matrices for each linear layer.
_STILL_PLAIN = {"init_lora_weights", "use_rslora", "layers_to_transform", "layers_pattern", "fan_in_fan_out"}

_NAMES = {
    "lora": "LoRA",
    "qlora": "QLoRA",
    "dora": "DoRA",
    "rslora": "rank-stabilized LoRA",
    "pissa": "LoRA, started as PiSSA",
}
# Methods that are words; the others are called by their initials.
_METHODS = {"continued": "continued pre-training", "distill": "distillation"}


def train_params(train: TrainSpec) -> dict[str, Any]:
    """What a card tells of the training: of the adapter, the keys that its type reads and that say something."""
    adapter = train.adapter
    ranked = ("r", "alpha", "dropout") if adapter.is_lora or adapter.type == "full" else ()
    always = {"type", "target_modules", *ranked}
    told = adapter.model_dump(mode="json", include=always) | adapter.identity()
    args = {name: value for name, value in train.args.items() if not is_tracking(name)}
    return {**train.model_dump(mode="json"), "adapter": told, "args": args}


def trained_by(method: str) -> str:
    """What a method is called: ``DPO``."""
    return _METHODS.get(method, method.upper())


def trained_as(adapter: Mapping[str, Any]) -> Markdown:
    """``LoRA: rank 16, alpha 32, dropout 0, on `all-linear```; '' where all weights were trained."""
    spec = AdapterSpec(**adapter)
    if spec.type == "full":
        return Markdown("")
    name = _NAMES.get(spec.type) or code(spec.type)
    if spec.over_nf4:
        name = f"{name} (the base in NF4)"
    if not spec.is_lora:
        fields = ", ".join(f"{code(key)} = {code(value)}" for key, value in sorted(spec.args.items()))
        return Markdown(f"{name} of PEFT{': ' + fields if fields else ''}")
    parts = [f"rank {spec.r}", f"alpha {spec.alpha}", f"dropout {spec.dropout:g}", f"on {code(spec.target_modules)}"]
    parts += [f"without {code(spec.exclude_modules)}"] if spec.exclude_modules else []
    parts += [f"on the parameters {code(spec.target_parameters)}"] if spec.target_parameters else []
    parts += [f"{code(key)} = {code(value)}" for key, value in sorted(spec.args.items())]
    whole = f"; {code(spec.modules_to_save)} in full" if spec.modules_to_save else ""
    return Markdown(f"{name}: {', '.join(parts)}{whole}")


def vllm_rank(adapter: Mapping[str, Any]) -> int | None:
    """What vLLM must be told as --max-lora-rank; None for what is no plain LoRA, or of a rank that it does not take."""
    spec = AdapterSpec(**adapter)
    plain = spec.is_lora and spec.type != "dora" and not spec.modules_to_save and not spec.target_parameters
    if not plain or not spec.args.keys() <= _STILL_PLAIN:
        return None
    rank = 2 * spec.r if spec.rewrites_base else spec.r  # such matrices are saved with those they started from
    return next((known for known in _VLLM_RANKS if known >= rank), None)
