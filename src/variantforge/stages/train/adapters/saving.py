"""Writing an adapter as PEFT reads it, over the base as it was before training, and proving what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import EmptyAdapter
from variantforge.fsops import write_json
from variantforge.stages.models import quiet
from variantforge.stages.train.adapters.witness import write_witness

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

ADAPTER = "adapter"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

_START = "_variantforge_start"
_LOWER_RATE = "lower train.args.learning_rate, then run the same command again"


# --- how it started -------------------------------------------------------------------------------------------------


def remember_start(model: Module, *, rewrites_base: bool) -> None:
    """Keeps, with the model, digests of all that is trained, and the matrices that were taken out of the base."""
    state = _state(model)
    start: dict[str, Any] = {"digests": {name: _digest(tensor) for name, tensor in state.items()}, "matrices": {}}
    start["shapes"] = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if rewrites_base:
        start["matrices"] = {name: tensor.detach().float().cpu().clone() for name, tensor in state.items()}
    setattr(model, _START, start)


def _state(model: Module) -> Mapping[str, Tensor]:
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model, save_embedding_layers=False)  # type: ignore[no-any-return]


def _digest(tensor: Tensor) -> str:
    import torch

    return hashlib.sha256(tensor.detach().float().cpu().contiguous().view(torch.uint8).numpy()).hexdigest()


# --- writing --------------------------------------------------------------------------------------------------------


def save_adapter(model: Any, folder: Path, base_name: str, trained: Mapping[str, Tensor] | None = None) -> None:
    """Writes a PEFT adapter folder that names its base by ``base_name`` and holds no path of this machine; beside it,
    what the model says (see ``witness``). ``trained``: its weights, where the model holds but a part of them. Raises
    EmptyAdapter when training has moved nothing."""
    with quiet():
        # of several adapters (a method's reference is one) only this one is trained
        held = {} if trained is None else {"state_dict": dict(trained)}
        model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False, **held)
        write_witness(model, folder.parent, _precision(model))
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's own card names the folder of the base
    config = json.loads((folder / CONFIG).read_text())
    start = getattr(model, _START, {"digests": {}, "matrices": {}, "shapes": {}})
    _require_moved(folder, start["digests"], start["shapes"])
    if start["matrices"]:
        config = _over_the_whole_base(folder, config, start["matrices"])
    config["base_model_name_or_path"] = base_name
    for key in ("target_modules", "exclude_modules", "target_parameters"):  # sets in PEFT, in no order
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    write_json(folder / CONFIG, config)


def _precision(model: Any) -> str:
    import torch

    if getattr(model.get_base_model(), "is_quantized", False):
        return "nf4"
    frozen = (parameter.dtype for parameter in model.parameters() if not parameter.requires_grad)
    return "bfloat16" if torch.bfloat16 in set(frozen) else "float32"


def _over_the_whole_base(folder: Path, config: dict[str, Any], start: Mapping[str, Tensor]) -> dict[str, Any]:
    """Turns matrices that stand over what was left of the base into ones over the base itself; returns their config.

    W - s B0 A0 + s B A  =  W + s [B, -B0] [A; A0]: twice the rank. PiSSA, https://arxiv.org/abs/2404.02948, appendix C.
    """
    import torch
    from safetensors.torch import load_file, save_file

    scale = config["r"] ** 0.5 if config["use_rslora"] else 1.0  # what is left of alpha / sqrt(r), beside alpha / r
    tensors = load_file(folder / WEIGHTS)
    for name, tensor in tensors.items():
        if ".lora_A." in name:
            tensors[name] = torch.cat([tensor, start[name]], dim=0).contiguous()
        elif ".lora_B." in name:
            tensors[name] = (scale * torch.cat([tensor, -start[name]], dim=1)).contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    twice = {"r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"]}
    return {**config, **twice, "use_rslora": False, "init_lora_weights": True}


# --- proving --------------------------------------------------------------------------------------------------------


def _require_moved(folder: Path, start: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises EmptyAdapter unless all tensors are there that were put on, each of its shape, and one is not what it was
    at the start."""
    from safetensors.torch import load_file

    tensors = load_file(folder / WEIGHTS)
    if lost := sorted(start.keys() - tensors.keys()):
        raise _not_whole(lost[0], len(start), "tensors", tensors)
    if torn := sorted(name for name, tensor in tensors.items() if tensor.shape != shapes.get(name, tensor.shape)):
        raise _only_a_part(torn[0], tuple(tensors[torn[0]].shape), shapes[torn[0]], len(torn))
    if start and all(_digest(tensor) == start.get(name) for name, tensor in tensors.items()):
        raise _changes_nothing(f"none of its {len(tensors)} tensors has moved", tensors)


def prove_adapter(folder: Path, matched: Iterable[str]) -> None:
    """Reads the adapter back. Raises EmptyAdapter unless every module that was trained has its tensors in it, whole and
    finite, and they change something."""
    from safetensors.torch import load_file

    tensors, modules = load_file(folder / WEIGHTS), list(matched)
    config = json.loads((folder / CONFIG).read_text())
    empty = sorted(name for name, tensor in tensors.items() if not tensor.numel())
    missing: list[str] = []
    if config["peft_type"] == "LORA":  # other types may keep one tensor for all modules
        missing = sorted(module for module in modules if not _is_in(module, tensors)) or _without_a_pair(tensors)
    if missing or empty or not tensors:
        raise _not_whole(next(iter([*missing, *empty]), "every module"), len(modules), "modules", tensors)
    broken = sorted(name for name, tensor in tensors.items() if not tensor.isfinite().all())
    if broken:
        raise EmptyAdapter(f"the saved adapter holds numbers that are not finite: {broken[0]}", next=_LOWER_RATE)
    if _is_plain_lora(tensors) and not any(_product_is_something(tensors, name) for name in tensors):
        raise _changes_nothing("all its B matrices are zero", tensors)


def _is_in(module: str, tensors: Mapping[str, Tensor]) -> bool:
    """Experts in one tensor are named by their parameter; PEFT saves them under their module, once or twice."""
    around = f"base_model.model.{module.rpartition('.')[0]}"
    starts = (f"base_model.model.{module}.", f"{around}.lora_", f"{around}.base_layer.")
    return any(name.startswith(starts) for name in tensors)


def _without_a_pair(tensors: Mapping[str, Tensor]) -> list[str]:
    pairs = {"lora_A": "lora_B", "lora_B": "lora_A"}
    return sorted(
        name.partition(f".{this}.")[0]
        for name in tensors
        for this, other in pairs.items()
        if f".{this}." in name and name.replace(f".{this}.", f".{other}.") not in tensors
    )


def _is_plain_lora(tensors: Mapping[str, Tensor]) -> bool:
    return all(".lora_A." in name or ".lora_B." in name for name in tensors)


def _product_is_something(tensors: Mapping[str, Tensor], name: str) -> bool:
    if ".lora_B." not in name:
        return False
    return bool(tensors[name].any() and tensors[name.replace(".lora_B.", ".lora_A.")].any())


def _not_whole(what: str, count: int, noun: str, tensors: Mapping[str, Tensor]) -> EmptyAdapter:
    return EmptyAdapter(
        f"the saved adapter is not whole: {what} is not in it",
        why=f"{count} {noun} were trained, and {len(tensors)} tensors were saved.",
    )


def _only_a_part(name: str, saved: tuple[int, ...], trained: tuple[int, ...], count: int) -> EmptyAdapter:
    return EmptyAdapter(
        f"the saved adapter is not whole: {name} was saved as {list(saved)}, and {list(trained)} was trained",
        why=f"So it is with {count} tensors: they lie in parts in several processes, and were not gathered.",
    )


def _changes_nothing(how: str, tensors: Mapping[str, Tensor]) -> EmptyAdapter:
    matrices = [tensor for name, tensor in tensors.items() if ".lora_B." in name]
    if matrices and len(tensors) == 2 * len(matrices) and not any(tensor.any() for tensor in matrices):
        how = "all its B matrices are zero"
    return EmptyAdapter(
        f"the saved adapter changes nothing: {how}",
        why="No step has moved a weight: the learning rate was zero, or too small for the number of steps.",
        next="look at learning_rate and the number of steps in train.args",
    )
