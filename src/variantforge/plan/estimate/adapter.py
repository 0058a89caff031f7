"""Which layers an adapter stands on, and how many parameters that trains: PEFT's rules, applied to names and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from variantforge.plan.estimate.shape import Linear, Shape, UnknownShape
from variantforge.spec.family import AdapterSpec

# PEFT draws the rank of the fused gate_up tensor of experts twice: once for gate, once for up.
_FUSED = 2
_LORA = ("lora", "qlora", "dora", "rslora", "pissa")


@dataclass(frozen=True)
class Trained:
    """``linears``: layers with an adapter. ``head``: whether the output embedding is trained, all of it."""

    linears: tuple[Linear, ...]
    parameters: int
    experts: bool
    head: bool

    def on(self, *endings: str) -> bool:
        """Whether a layer with one of these last names has an adapter."""
        return any(linear.name.rpartition(".")[2] in endings for linear in self.linears)


def trained(shape: Shape, adapter: AdapterSpec) -> Trained:
    """Raises UnknownShape for kinds of adapter whose size is not known here."""
    if adapter.type == "full":
        return Trained(shape.linears, shape.parameters, bool(shape.experts), True)
    if adapter.type not in _LORA:
        raise UnknownShape(f"the size of an adapter of type {adapter.type} is not known before it is built")
    linears = tuple(linear for linear in shape.linears if _is_target(linear.name, adapter.target_modules))
    experts = bool(shape.experts) and _experts_are_targets(adapter)
    saved = getattr(adapter, "modules_to_save", [])
    whole = sum(math.prod(size) for name, size in shape.tensors.items() if _module(name) in saved)
    pairs = sum(adapter.r * (linear.inputs + linear.outputs) for linear in linears)
    pairs += sum(_expert_pairs(shape, adapter.r)) if experts else 0
    magnitudes = sum(linear.outputs for linear in linears) if adapter.type == "dora" else 0
    head = "lm_head" in saved or (shape.tied and "embed_tokens" in saved)
    return Trained(linears, pairs + magnitudes + whole, experts, head)


def _module(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[2]


def _is_target(name: str, targets: str | list[str]) -> bool:
    """``check_target_module_exists`` of PEFT: a regular expression on the whole name, or a list of last names."""
    if targets == "all-linear":
        return True
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _experts_are_targets(adapter: AdapterSpec) -> bool:
    """``all-linear`` takes them in: PEFT turns it into targets on the experts' tensors where a model has such."""
    if getattr(adapter, "target_parameters", None):
        return True
    named = adapter.target_modules
    return named == "all-linear" or any(target in named for target in ("gate_proj", "up_proj", "down_proj", "experts"))


def _expert_pairs(shape: Shape, rank: int) -> Iterator[int]:
    """LoRA parameters on the experts of all layers: gate_up [E, 2I, H] at twice the rank, down [E, H, I]."""
    count, hidden, inner = shape.experts, shape.hidden, shape.expert_intermediate
    yield shape.layers * count * _FUSED * rank * (hidden + 2 * inner)
    yield shape.layers * count * rank * (hidden + inner)
