"""The memory of a quantize step at its peak, from the headers of the model that it reads: no step holds the model.

What each way of quantizing holds beside its process was measured on a model of eight files, 1.5 GB
(``benchmarks/results/quantize_memory.json``).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from variantforge.errors import VariantforgeError
from variantforge.plan.estimate.bases import Found
from variantforge.plan.plan import Plan
from variantforge.stages.base.look import read_inventory
from variantforge.step import Step

_PROCESS = 500_000_000  # a fork with torch and transformers, and what it allocates on its own


class Held(NamedTuple):
    """What is held at the peak, beside the process: sizes of the model's largest file, of its largest tensor (as
    float32), and of the whole model."""

    files: float = 0.0
    tensors: float = 0.0
    models: float = 0.0


class Sizes(NamedTuple):
    """Of a model, in bytes: its largest file, its largest tensor as float32, all its files."""

    file: int
    tensor: int
    model: int


_HELD = {
    "gguf:source": Held(tensors=2.0),
    "gguf": Held(),
    "nf4": Held(models=1.0),
    "int8": Held(models=1.5),
    "fp8": Held(files=2.0, tensors=4.0),
    "w4a16": Held(files=2.0, tensors=4.0),
    "w8a8": Held(files=2.0, tensors=4.0),
}
# They run the model over text, on all cores or on an accelerator: nothing is to be at work beside them.
_ALONE = frozenset({"imatrix"})


def peak_bytes(plan: Plan, step: Step, store: Found) -> int | None:
    """None for a step that is no quantize step of a measured kind, and where the model is not there yet."""
    held, model = _held(step), plan.steps.get(step.inputs.get("model", ""))
    artifact = store.find(model) if model and held else None
    if held is None or artifact is None:
        return None
    try:
        sizes = _sizes(str(artifact.path / "model"))
    except (VariantforgeError, OSError):
        return None
    return _PROCESS + round(held.files * sizes.file + held.tensors * sizes.tensor + held.models * sizes.model)


def _held(step: Step) -> Held | None:
    type = str(step.params.get("type", ""))
    if step.stage != "quantize" or type in _ALONE:
        return None
    return _HELD.get(f"{step.method}:{type}") or _HELD.get(step.method)


@lru_cache(maxsize=256)
def _sizes(folder: str) -> Sizes:
    """Of an artifact, which never changes. Raises VariantforgeError or OSError where it cannot be read."""
    files = [path.stat().st_size for path in Path(folder).glob("*.safetensors")]
    tensor = max(4 * tensor.elements for tensor in read_inventory(Path(folder)).values())
    return Sizes(max(files), tensor, sum(files))
