"""The memory of a quantize step at its peak, from the headers of the model that it reads. No step holds the model.

What each way of quantizing holds beside its process was measured (``benchmarks/results/quantize_memory.json``; a test
holds the bounds below to it). llama.cpp's programs hold a tensor as float32 and once more as what it becomes.
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

_PROCESS = 500_000_000  # python with torch and transformers, and what they allocate for themselves


class Sizes(NamedTuple):
    """Of a model, in bytes: its largest file, its largest tensor as float32, all its files."""

    file: int
    tensor: int
    model: int


class Held(NamedTuple):
    """What a step holds at its peak beside the process, in sizes of the model's largest file, of its largest tensor (as
    float32), and of the whole model. Bounds from above."""

    files: float = 0.0
    tensors: float = 0.0
    models: float = 0.0

    def peak_bytes(self, sizes: Sizes) -> int:
        return _PROCESS + round(self.files * sizes.file + self.tensors * sizes.tensor + self.models * sizes.model)


# By method, and by method and type where a type is made otherwise.
HELD = {
    "gguf": Held(tensors=1.5),
    "gguf:source": Held(tensors=2.0),
    "nf4": Held(tensors=2.0, models=0.02),  # a byte for each block of 64 weights stays: 1/128 of the model
    "int8": Held(tensors=2.0, models=0.02),
    "fp8": Held(files=1.0, tensors=0.5),
    "w4a16": Held(files=1.0, tensors=0.5),
    "w8a8": Held(files=1.0, tensors=0.5),
}
# They run the model over text, on all cores or on an accelerator: nothing is to be at work beside them.
ALONE = frozenset({"imatrix"})


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
    return held.peak_bytes(sizes)


def _held(step: Step) -> Held | None:
    type = str(step.params.get("type", ""))
    if step.stage != "quantize" or type in ALONE:
        return None
    return HELD.get(f"{step.method}:{type}") or HELD.get(step.method)


@lru_cache(maxsize=256)
def _sizes(folder: str) -> Sizes:
    """Of an artifact, which never changes. Raises VariantforgeError or OSError where it cannot be read."""
    files = [path.stat().st_size for path in Path(folder).glob("*.safetensors")]
    tensor = max(4 * tensor.elements for tensor in read_inventory(Path(folder)).values())
    return Sizes(max(files), tensor, sum(files))
