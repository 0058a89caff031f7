"""Putting a fresh adapter on a base: each target must be there, what is hit must be mergeable, no expert forgotten."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from variantforge.errors import TrainError, UnmatchedTargets
from variantforge.spec.adapter_types import ALL_EXPERTS
from variantforge.spec.family import AdapterSpec
from variantforge.stages.models import quiet
from variantforge.stages.train.adapters.config import peft_config
from variantforge.stages.train.adapters.experts import expert_tensors, require_experts
from variantforge.stages.train.adapters.modules import adapted, kept_modules, kind_of, plain
from variantforge.stages.train.adapters.saving import remember_start

if TYPE_CHECKING:
    from torch.nn import Module

_REFUSALS = (ValueError, TypeError, ImportError, NotImplementedError)  # how PEFT says no
_TARGETS = "write the names of linear layers into train.adapter.target_modules, or all-linear"


def put_on(model: Module, adapter: AdapterSpec, seed: int) -> tuple[Module, list[str]]:
    """The model with a fresh adapter in float32 (drawn from ``seed``), and what it stands on: names of modules, and of
    parameters where experts are stored as one tensor; then those trained in full.

    Raises UnmatchedTargets when a target names nothing, ExpertsUntrained when experts would be forgotten, TrainError
    when a target cannot be trained or could not be merged.
    """
    import torch
    from peft import get_peft_model

    parameters = _target_parameters(model, adapter)
    _require_targets(model, adapter, parameters)
    tied = _require_whole_tie(model, adapter)
    config = peft_config(adapter, targets=_targets(model, adapter), target_parameters=parameters, tied=tied)
    torch.manual_seed(seed)
    with quiet():
        try:
            tuned = get_peft_model(model, config)
        except _REFUSALS as error:  # a target that names a block, a size that does not fit
            raise TrainError("train.adapter cannot be trained as written", why=str(error), next=_TARGETS) from error
    if adapter.is_lora:
        _require_linear(tuned)
    _require_mergeable(tuned, adapter)
    matched = sorted(name for name, _ in adapted(tuned))
    require_experts(tuned, adapter, matched)
    remember_start(tuned, rewrites_base=adapter.rewrites_base)
    return tuned, [*matched, *sorted(name for name, _ in kept_modules(tuned))]


def _targets(model: Any, adapter: AdapterSpec) -> str | list[str]:
    """``all-linear`` beside ``experts: frozen``, spelled out: PEFT may count experts among the linear layers."""
    from torch.nn import Linear

    if adapter.target_modules != "all-linear" or adapter.experts != "frozen":
        return adapter.target_modules
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, Linear) and module is not head and ".experts." not in name
    ]


# --- what is named must be there ----------------------------------------------------------------------------------


def _target_parameters(model: Module, adapter: AdapterSpec) -> list[str]:
    """The parameters' names, ``all-experts`` spelled out: ``mlp.experts.gate_up_proj``, the same in each layer."""
    if adapter.target_parameters != ALL_EXPERTS:
        return list(adapter.target_parameters)
    found = sorted({kind_of(name) for name in expert_tensors(model)})
    if not found:
        raise UnmatchedTargets(
            f"target_parameters: '{ALL_EXPERTS}' finds no expert in this model",
            why="No parameter of it holds the weights of several experts in one tensor. Experts that are modules of "
            "their own are named in target_modules; all-linear holds them.",
            next="remove train.adapter.target_parameters",
        )
    return found


def _require_targets(model: Module, adapter: AdapterSpec, parameters: Iterable[str]) -> None:
    """Raises UnmatchedTargets unless *each* name is there: PEFT is content when one of them is."""
    modules = [name for name, _ in model.named_modules() if name]
    for key in ("target_modules", "exclude_modules"):
        value = getattr(adapter, key)
        for target in _each(value):
            if not _names_any(target, modules, regex=isinstance(value, str)):
                raise _unmatched(key, target, _linear_endings(model), "Linear layers")
    for target in parameters:
        known = [name for name, _ in model.named_parameters()]
        if not any(name == target or name.endswith(f".{target}") for name in known):
            endings = sorted({kind_of(name) for name in expert_tensors(model)})
            raise _unmatched("target_parameters", target, endings, "Experts in one tensor")
    for target in adapter.modules_to_save:
        if not any(name == target or name.endswith(f".{target}") for name in modules):
            raise _unmatched("modules_to_save", target, sorted({kind_of(name) for name in modules}), "Modules")


def _each(value: str | list[str] | None) -> list[str]:
    if value is None or value == "all-linear":
        return []
    return [value] if isinstance(value, str) else list(value)


def _names_any(target: str, names: list[str], *, regex: bool) -> bool:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    alone = LoraConfig(target_modules=target if regex else [target])
    return any(check_target_module_exists(alone, name) for name in names)


def _linear_endings(model: Module) -> list[str]:
    from torch.nn import Linear

    return sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, Linear)})


def _unmatched(key: str, target: str, known: list[str], noun: str) -> UnmatchedTargets:
    close = difflib.get_close_matches(target, known, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    effect = "It would be trained" if key == "exclude_modules" else "It would stay untrained"
    return UnmatchedTargets(
        f"{key}: '{target}' names no {'parameter' if key == 'target_parameters' else 'module'} of this model.{hint}",
        why=f"{effect} without a word. {noun} here: {', '.join(known) or 'none'}.",
        next=_TARGETS if key == "target_modules" else f"correct train.adapter.{key}",
    )


# --- what is hit must be mergeable ---------------------------------------------------------------------------------


def _require_linear(tuned: Module) -> None:
    """LoRA on an embedding is not folded: the tensor may be the head's, too."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    for name, layer in adapted(tuned):
        if not hasattr(layer, "parameter_name") and not isinstance(layer.get_base_layer(), Linear | Conv1D):
            raise TrainError(
                f"target_modules names something that is not a linear layer: {name}",
                why="Only adapters on linear layers can be folded into the base when the variant is merged.",
                next=f"{_TARGETS}; embeddings and heads go into modules_to_save",
            )


def _require_mergeable(tuned: Module, adapter: AdapterSpec) -> None:
    """Merges a copy of one layer of each kind, before an hour is spent on what could not be merged afterwards."""
    if adapter.is_lora or adapter.over_nf4:  # LoRA merges; NF4 does not, but the adapter is folded into the full base
        return
    seen = set()
    for name, layer in adapted(tuned):
        if (kind := (type(layer), kind_of(name))) in seen:
            continue
        seen.add(kind)
        try:
            copy.deepcopy(layer).merge(safe_merge=True)
        except Exception as error:  # whatever PEFT raises, it is the same to us
            raise TrainError(
                f"an adapter of the type {adapter.type} on {name} cannot be merged into the base",
                why=str(error) or type(error).__name__,
                next="choose another train.adapter.type, or other target_modules",
            ) from error


def _require_whole_tie(model: Any, adapter: AdapterSpec) -> bool:
    """Whether embedding and head, tied in the base, are among what is trained in full: both are then one tensor still.

    Raises TrainError where PEFT would train one of them apart from the other.
    """
    if not adapter.modules_to_save or not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return False
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = {plain(name) for name, module in model.named_modules() if module is embedding or module is head}
    named = [target for target in adapter.modules_to_save if any(f".{name}".endswith(f".{target}") for name in tied)]
    if named and not adapter.is_lora:
        raise TrainError(
            f"modules_to_save: '{named[0]}' is one tensor with another module of this base, which tied them",
            why=f"PEFT trains it apart from the other under {adapter.type}; merged, one of the two would be lost.",
            next="take it out of modules_to_save, or use type: lora",
        )
    return bool(named)
