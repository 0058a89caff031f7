"""What optimizers keep for each trained parameter, by the names of transformers' ``optim``."""

from __future__ import annotations

import math

from variantforge.plan.estimate.shape import Shape

_FLOAT = 4
# An 8-bit state of bitsandbytes: one byte, and one float32 for each block of 256 (Dettmers et al., 2110.02861).
_BYTE = 1 + 4 / 256
# Bytes a parameter: AdamW keeps two moments, Lion and RMSprop one, plain SGD none.
_STATES = {
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused"), 2 * _FLOAT),
    **dict.fromkeys(("adamw_apex_fused", "paged_adamw", "paged_adamw_32bit", "stable_adamw"), 2 * _FLOAT),
    **dict.fromkeys(("adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit", "ademamix_8bit"), 2 * _BYTE),
    **dict.fromkeys(("lion_32bit", "lion", "paged_lion_32bit", "rmsprop", "rmsprop_bnb", "adagrad"), _FLOAT),
    **dict.fromkeys(("lion_8bit", "paged_lion_8bit", "rmsprop_bnb_8bit", "rmsprop_8bit"), _BYTE),
    "adamw_torch_8bit": 2 * _BYTE,
    "adamw_torch_4bit": 1.0 + 8 / 128,
    "sgd": 0.0,
}


def state_bytes(optim: str, parameters: int, matrices: list[tuple[int, ...]]) -> float | None:
    """Bytes of an optimizer's states for ``parameters`` trained; None for one that is not known here.

    Adafactor keeps one row and one column for each matrix (Shazeer and Stern, 1804.04235), and all of a vector.
    """
    if optim == "adafactor":
        return float(sum(_FLOAT * (sum(shape) if len(shape) > 1 else math.prod(shape)) for shape in matrices))
    each = _STATES.get(optim)
    return None if each is None else each * parameters


def temporary_bytes(optim: str, device: str, parameters: int, largest: int) -> float:
    """What one step of the optimizer holds beside its states and the gradients.

    The fused AdamW holds nothing. ``foreach`` implementations (CUDA, where not fused) hold a copy of every parameter;
    the loops of the others hold one of the largest.
    """
    if optim.endswith("_fused") or "8bit" in optim or optim.startswith("paged"):
        return 0.0
    if optim == "adafactor":
        return 2.0 * _FLOAT * largest
    return float(_FLOAT * (parameters if device == "cuda" else 2 * largest))


def trained_matrices(shape: Shape, rank: int | None, linears: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Shapes of what is trained: of LoRA (``rank``) the pairs, else all weights."""
    if rank is None:
        return list(shape.tensors.values())
    return [pair for outputs, inputs in linears for pair in ((rank, inputs), (outputs, rank))]
