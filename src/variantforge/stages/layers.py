"""A model of which one layer is held at a time, for what runs it a few times on a CPU without memory for all of it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING

from variantforge.stages.models import empty_model, load_model

if TYPE_CHECKING:
    from torch.nn import Module

_DISK = "disk"


def load_by_layers(folder: Path, scratch: Path) -> Module:
    """The model in ``folder`` in float32 on the CPU, saying what ``load_model``'s says.

    Its layers stay on disk: each is read when it runs, and given back after it. What stands beside them (embeddings,
    output head) is held; so is all of a model that is no more than two of its files, or does not tell its layers.
    Raises BaseError as ``load_model`` does.
    """
    empty = empty_model(folder)
    files = [file.stat().st_size for file in folder.glob("*.safetensors")]
    if 4 * sum(part.numel() for part in empty.parameters()) <= 2 * max(files, default=0):
        return load_model(folder)
    places = dict(_places(empty, set(getattr(empty, "_no_split_modules", None) or ())))
    if _DISK not in places.values():
        return load_model(folder)
    model = load_model(folder, device=places, offload=scratch)
    for name, module in model.named_modules():
        if places.get(name) == _DISK:
            module.register_forward_hook(lambda *_: give_back_what_is_free())
    return model


def _places(module: Module, layers: Set[str], within: str = "") -> Iterator[tuple[str, str]]:
    """Name of a part -> ``disk`` for those whose class is among ``layers``, ``cpu`` for what stands beside them."""
    for name, part in module.named_children():
        kinds = {type(inner).__name__ for inner in part.modules()}
        if type(part).__name__ in layers or not kinds & layers:
            yield within + name, _DISK if kinds & layers else "cpu"
        else:
            yield from _places(part, layers, f"{within}{name}.")


def give_back_what_is_free() -> None:
    """The C library keeps freed memory that lies between what is in use: over many small tensors, up to two thirds of a
    model (``tests/stages/quantize/test_memory.py``)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
