"""Experts: which weights of a mixture they are, and whether an adapter reaches them.

transformers stores the experts of a layer as one tensor [experts, ., .], which is no linear layer. PEFT reads
``all-linear`` as the experts, too, for the few architectures that once had modules for them; for the others it passes
them over without a word, as it does under any list of modules. Most weights of such a model then stay untrained.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from variantforge.errors import ExpertsUntrained, TrainError
from variantforge.spec.family import AdapterSpec
from variantforge.stages.train.adapters.modules import base_parameters, kept_modules, kind_of, plain

if TYPE_CHECKING:
    from torch.nn import Module

_MODULE = re.compile(r"\.experts\.\d+\.")  # an expert that is a module of its own


def expert_tensors(model: Module) -> dict[str, int]:
    """Name in the base -> number of weights, of every parameter that holds several experts in one tensor."""
    from torch.nn.modules.conv import _ConvNd

    modules = dict(model.named_modules())
    return {
        plain(f"{path}.{name}"): parameter.numel()
        for path, name, parameter in base_parameters(model)
        if parameter.dim() == 3 and not isinstance(modules[path], _ConvNd)
    }


def expert_weights(model: Module) -> dict[str, int]:
    """Name in the base -> number of weights, of all experts; biases are left out. Empty for a model without experts."""
    apart = {
        plain(f"{path}.{name}"): parameter.numel()
        for path, name, parameter in base_parameters(model)
        if name == "weight" and _MODULE.search(plain(f"{path}.{name}"))
    }
    return {**expert_tensors(model), **apart}


def trained_experts(model: Module, matched: Collection[str]) -> dict[str, int]:
    """Those of ``expert_weights`` that an adapter changes, or that are trained in full."""
    full = tuple(f"{name}." for name, _ in kept_modules(model))
    reached = {*matched, *(f"{name}.weight" for name in matched)}
    return {
        name: count
        for name, count in expert_weights(model).items()
        if name in reached or (full and name.startswith(full))
    }


def require_experts(model: Module, adapter: AdapterSpec, matched: Collection[str]) -> None:
    """Raises ExpertsUntrained when experts are left out, unless the family file says ``experts: frozen``; TrainError
    when it says so and names them."""
    everything, reached = expert_weights(model), trained_experts(model, matched)
    if adapter.experts == "frozen":
        _refuse_both(reached)
        return
    left = everything.keys() - reached.keys()
    if not left:
        return
    weights = sum(everything[name] for name in left)
    total = sum(parameter.numel() for *_, parameter in base_parameters(model))
    reach = "only some of the" if reached else "none of the"
    raise ExpertsUntrained(
        f"{reach} experts of this model would be trained: {len(left)} of {len(everything)} expert weights are left out",
        why=f"{', '.join(sorted({kind_of(name) for name in left}))} hold {weights:,} of the model's {total:,} weights. "
        "Experts stored as one tensor are no linear layers: no name of a module reaches them.",
        next="write target_parameters: all-experts under train.adapter, or experts: frozen if that is what you want",
    )


def _refuse_both(reached: Collection[str]) -> None:
    if reached:
        raise TrainError(
            f"train.adapter says experts: frozen, and its targets name {sorted(reached)[0]}",
            why="It is one or the other.",
            next="take the experts out of the targets, or remove experts: frozen",
        )
