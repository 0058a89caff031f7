"""Rounding trained weights to bf16 without losing what was learned.

The weights of a base lie exactly on bf16's grid, and what fine-tuning adds to one of them is often a tenth of the
grid's step. Rounding to the nearest value then gives back the base: most of the update is lost without a word. Here a
weight is rounded up or down at random, with the odds that make its expected value exact (stochastic rounding,
https://arxiv.org/abs/1502.02551), so that a low-rank update survives in every product it takes part in.

SmolLM2-135M with LoRA after 8 steps, mean KL from the unrounded sum: 2.4e-3 to nearest, 6e-5 so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from variantforge.hashing import text_digest

if TYPE_CHECKING:
    import torch


def to_bf16(weights: torch.Tensor, name: str) -> torch.Tensor:
    """float32 weights of any shape, rounded to one of their two neighbours in bf16; exact values stay as they are.

    The random numbers depend on ``name`` alone: equal weights give equal bytes.
    """
    import torch

    generator = torch.Generator().manual_seed(int(text_digest(name)[:15], 16))
    # A float32 is a bf16 followed by 16 more bits: what these add up to with 16 random ones carries, or does not.
    dice = torch.randint(0, 1 << 16, weights.shape, generator=generator, dtype=torch.int32)
    bits = weights.detach().float().cpu().contiguous().view(torch.int32) + dice
    return (bits & -(1 << 16)).view(torch.float32).to(torch.bfloat16)
