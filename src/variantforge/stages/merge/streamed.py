"""Folding plain LoRA matrices, tensor by tensor: no model is held.

Each weight W (bf16) with matrices A, B becomes  W' = bf16(W + s B A), where s is alpha / r (LoRA,
https://arxiv.org/abs/2106.09685, section 4.1) or alpha / sqrt(r) (rank-stabilized, https://arxiv.org/abs/2312.03732),
computed in float32 and rounded once, so that small updates are not lost (see ``rounding``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from variantforge.errors import WrongBase
from variantforge.fsops import copy_file
from variantforge.stages.rounding import to_bf16
from variantforge.stages.train import adapters
from variantforge.step import StepContext

if TYPE_CHECKING:
    from torch import Tensor

# Fields of LoraConfig that mean more than one pair of matrices and one scale.
_MORE_THAN_PAIRS = (
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "kasa_config",
    "monteclora_config",
    "use_bdlora",
)


@dataclass(frozen=True)
class Update:
    """One LoRA pair: A [r, in], B [out, r], and what their product is multiplied with."""

    a: Tensor
    b: Tensor
    scale: float
    transposed: bool  # the layer keeps its weight as [in, out] (Conv1D)

    def apply(self, weight: Tensor) -> Tensor:
        """The weight with the update in it, float32."""
        delta = self.scale * (self.b.float() @ self.a.float())
        return weight.float() + (delta.T if self.transposed else delta)


def read_updates(adapter: Path) -> dict[str, Update] | None:
    """Tensor name in the base -> its update; None for adapters that are more than pairs of matrices."""
    from safetensors.torch import load_file

    config = json.loads((adapter / adapters.CONFIG).read_text())
    if config["peft_type"] != "LORA" or config["bias"] != "none" or any(config.get(key) for key in _MORE_THAN_PAIRS):
        return None
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(adapter / adapters.WEIGHTS).items():
        module, _, matrix = name.removeprefix("base_model.model.").rpartition(".lora_")
        pairs.setdefault(f"{module}.weight", {})[matrix] = tensor
    if any(pair.keys() != {"A.weight", "B.weight"} for pair in pairs.values()):
        return None
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    return {
        name: Update(pair["A.weight"], pair["B.weight"], scale, bool(config["fan_in_fan_out"]))
        for name, pair in pairs.items()
    }


def fold(context: StepContext, base: Path, updates: Mapping[str, Update], out: Path) -> int:
    """Writes ``out`` file by file; returns how many weights changed. ``updates`` name tensors of the base.

    Raises WrongBase when one has another shape than its weight.
    """
    from safetensors.torch import load_file, save_file

    files = sorted(base.iterdir())
    for done, path in enumerate(files):
        if path.suffix != ".safetensors":
            copy_file(path, out / path.name)
            continue
        tensors = load_file(path)
        for name in sorted(updates.keys() & tensors.keys()):
            _require_fit(name, updates[name], tensors[name])
            tensors[name] = to_bf16(updates[name].apply(tensors[name]), name)
        save_file(tensors, out / path.name, metadata={"format": "pt"})
        context.progress(done + 1, len(files), "file")
    return len(updates)


def _require_fit(name: str, update: Update, weight: Tensor) -> None:
    shape = [update.b.shape[0], update.a.shape[1]]
    if sorted(shape) != sorted(weight.shape) or (not update.transposed and shape != list(weight.shape)):
        raise WrongBase(
            f"the adapter was trained on another base: its update of {name} is {shape}",
            why=f"The weight at hand is {list(weight.shape)}.",
            next="run: variantforge verify, then apply again",
        )
