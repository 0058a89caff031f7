"""What steps will write into the store, in bytes."""

from __future__ import annotations

from variantforge.plan.estimate.adapter import trained
from variantforge.plan.estimate.memory import nf4_bytes
from variantforge.plan.estimate.optimizer import state_bytes, trained_matrices
from variantforge.plan.estimate.recipe import Recipe
from variantforge.plan.estimate.shape import Shape
from variantforge.stages.base.gguf_format import BLOCKS
from variantforge.step import Step

CHECKPOINTS_KEPT = 2  # save_total_limit in stages/train/config.py
_FLOAT, _BF16 = 4, 2
# Bits a weight of the mixed K types, for an 8B model: llama.cpp, tools/quantize/README.md. Smaller models have more,
# since their embeddings weigh more; the bound below takes that in.
_MIXED = {
    "Q2_K": 3.16,
    "Q2_K_S": 2.97,
    "Q3_K_S": 3.64,
    "Q3_K_M": 4.00,
    "Q3_K_L": 4.30,
    "Q4_K_S": 4.67,
    "Q4_K_M": 4.89,
    "Q5_K_S": 5.57,
    "Q5_K_M": 5.70,
    "IQ3_M": 3.76,
    "IQ3_S": 3.66,
    "IQ3_XS": 3.50,
    "IQ3_XXS": 3.25,
    "IQ2_M": 2.93,
    "IQ2_S": 2.74,
    "IQ2_XS": 2.59,
    "IQ2_XXS": 2.38,
    "IQ1_M": 2.15,
    "IQ1_S": 2.00,
}
# Bits a weight of a linear layer, scales included (a 16-bit one per row is nothing; per group of 128, an eighth of a
# bit; GPTQ and AWQ keep a 4-bit zero beside it). Embeddings and the head stay in bf16.
_LINEAR_BITS = {"int8": 8.0, "fp8": 8.0, "w8a8": 8.0, "w4a16": 4.125, "gptq": 4.16, "awq": 4.16}
_PURE = {name: 8 * size / count for name, count, size in BLOCKS.values()}
_EMBEDDING_BITS = 8.5  # no K type gives the embedding and the head more


def checkpoint_bytes(shape: Shape, recipe: Recipe) -> float:
    """All checkpoints that a training keeps at once: those kept, and the one being written. They go when it is done."""
    on = trained(shape, recipe.adapter)
    linears = [(linear.outputs, linear.inputs) for linear in on.linears]
    matrices = trained_matrices(shape, None if recipe.full else recipe.adapter.r, linears)
    states = state_bytes(recipe.optim, on.parameters, matrices) or 0.0
    return (CHECKPOINTS_KEPT + 1) * (_FLOAT * on.parameters + states)


def trained_bytes(shape: Shape, recipe: Recipe) -> float:
    """The adapter in float32, or all weights in bf16."""
    on = trained(shape, recipe.adapter)
    return float(_BF16 * on.parameters if recipe.full else _FLOAT * on.parameters)


def model_bytes(shape: Shape) -> float:
    """A materialised base, or a merged model: bf16."""
    return float(_BF16 * shape.parameters)


def quantized_bytes(shape: Shape, step: Step) -> float | None:
    """Of a quantize step; None for a format whose size is not known here."""
    if step.method == "nf4":
        return nf4_bytes(shape)
    if bits := _LINEAR_BITS.get(step.method):
        return bits * shape.linear_elements / 8 + _BF16 * (shape.parameters - shape.linear_elements)
    name = str(step.params.get("type", ""))
    if name == "source":
        return model_bytes(shape)
    bits = _MIXED.get(name, _PURE.get(name))
    if step.method != "gguf" or bits is None:
        return None
    body = shape.linear_elements + shape.expert_elements
    return (bits * body + max(bits, _EMBEDDING_BITS) * (shape.parameters - body)) / 8
