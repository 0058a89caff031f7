"""A model's modules and parameters by the names they have in the base, whatever PEFT has wrapped them into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Module

# What PEFT puts between a name and its ending.
_WRAPPINGS = (".base_layer", ".original_module", ".modules_to_save.default")


def trainable(model: Module) -> list[tuple[str, Any]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def keep_in_float32(model: Module, *, autocast: bool) -> None:
    """What is trained, in float32: TRL turns the adapters of NF4 bases to bf16, where small updates are rounded away.

    Under autocast PEFT need not cast inputs to the adapter's type first: they are cast to bf16 right after.
    """
    for _, parameter in trainable(model):
        parameter.data = parameter.data.float()
    for module in model.modules():
        if autocast and hasattr(module, "lora_A"):
            module.cast_input_dtype_enabled = False


def plain(name: str) -> str:
    """A module's or parameter's name in the base model."""
    name = name.removeprefix("base_model.model.")
    for wrapping in _WRAPPINGS:
        name = name.replace(wrapping, "")
    return name


def base_parameters(model: Module) -> Iterator[tuple[str, str, Any]]:
    """(name of the module, name of the parameter, parameter) of all that the base brought; what is trained in full
    stands here once, as it was."""
    adapters = getattr(model, "peft_config", {}).keys()  # PEFT's names of adapters are names of modules, too
    for path, module in model.named_modules():
        if adapters.isdisjoint(path.split(".")):
            for name, parameter in module.named_parameters(recurse=False):
                if name not in adapters:
                    yield path, name, parameter


def adapted(model: Module) -> Iterator[tuple[str, Any]]:
    """(what it stands on in the base, the layer) of every layer of the adapter: a module, or of experts that are
    stored as one tensor, a parameter."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            parameter = getattr(module, "parameter_name", None)
            yield f"{plain(name)}.{parameter}" if parameter else plain(name), module


def kept_modules(model: Module) -> Iterator[tuple[str, Any]]:
    """(name in the base, wrapper) of the modules that are trained in full beside the adapter."""
    from peft.utils.other import ModulesToSaveWrapper

    for name, module in model.named_modules():
        if isinstance(module, ModulesToSaveWrapper):
            yield plain(name), module


def kind_of(name: str) -> str:
    """What a module is, whichever layer it is in: ``model.layers.3.mlp.experts.7.w1`` -> ``mlp.experts.w1``; of
    modules and parameters outside of layers, the name itself."""
    parts = name.split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdigit()]
    behind = parts[numbers[0] + 1 :] if numbers else parts
    return ".".join(part for part in behind if not part.isdigit())
