"""What the forward pass of a decoder keeps for the backward pass, in bytes.

Derived from the operations of transformers' Llama-like layers as autograd saves their operands, and checked tensor by
tensor against an allocation ledger (``benchmarks/memory.py``); the idea of counting them so is Korthikanti et al.,
"Reducing Activation Recomputation in Large Transformer Models" (2205.05198), section 4.

Symbols: H hidden, Q = heads x head_dim, K = kv_heads x head_dim, I intermediate, w = bytes of a number in the
arithmetic (2 under bf16 or fp16, else 4). All figures are per token, but for what attention keeps of pairs of tokens.
"""

from __future__ import annotations

from variantforge.plan.estimate.adapter import Trained
from variantforge.plan.estimate.recipe import Recipe
from variantforge.plan.estimate.shape import Shape

_FLOAT = 4
_ATTENTION = ("q_proj", "k_proj", "v_proj", "qkv_proj")
_GATES = ("gate_proj", "up_proj", "gate_up_proj")


def layer_bytes(shape: Shape, recipe: Recipe, trained: Trained) -> float:
    """Of one layer, for a whole micro-batch."""
    per_token = _norms(shape, recipe, trained) + _attention(shape, recipe, trained) + _lora(shape, recipe, trained)
    per_token += _experts(shape, recipe) if shape.experts else _mlp(shape, recipe, trained)
    return recipe.tokens * per_token + _pairs(shape, recipe) + _expert_copies(shape, recipe, trained)


def stream_bytes(shape: Shape, recipe: Recipe) -> float:
    """Of the residual stream between two layers: all that is kept of a layer whose activations are recomputed."""
    return float(recipe.tokens * shape.hidden * recipe.base_width)


def _norms(shape: Shape, recipe: Recipe, trained: Trained) -> float:
    """RMSNorm computes in float32: its input [H] is kept as such. A norm that is trained keeps its result too."""
    kept = _FLOAT * shape.hidden * shape.block_norms * (2 if recipe.full else 1)
    if shape.head_norms:
        kept += _FLOAT * (shape.query + shape.key) * (2 if recipe.full else 1)
    return float(kept)


def _inputs(width_of: int, layers: int, recipe: Recipe) -> float:
    """The input [width_of] of ``layers`` linear layers that are trained.

    Layers share it, but where each must cast it: float32 streams under autocast (full), or an adapter in float32 on a
    base in bf16 without autocast (qlora in float32 arithmetic). Dropout gives each its own copy, and a mask: of bytes
    on CUDA, of numbers on the CPU.
    """
    if not layers:
        return 0.0
    casts_each = recipe.base_width != recipe.width or (not recipe.autocast and recipe.width == 2)
    size = float(recipe.width if recipe.autocast or recipe.width == _FLOAT else _FLOAT)
    if recipe.adapter.dropout and not recipe.full:
        return width_of * layers * (size + (1 if recipe.device == "cuda" else size))
    return width_of * size * (layers if casts_each else 1)


def _count(trained: Trained, *endings: str) -> int:
    return sum(trained.on(ending) for ending in endings)


def _attention(shape: Shape, recipe: Recipe, trained: Trained) -> float:
    """q, k, v as attention takes them, its result (which o_proj takes), and one logsumexp for each head.

    With a mask, sdpa repeats keys and values for all heads; eager attention always does.
    """
    repeated = recipe.attention == "eager" or recipe.masked
    keys = shape.query if repeated else shape.key
    kept = recipe.width * (2 * shape.query + 2 * keys)
    kept += 0 if recipe.attention == "eager" else _FLOAT * shape.heads
    return kept + _inputs(shape.hidden, _count(trained, *_ATTENTION), recipe)


def _pairs(shape: Shape, recipe: Recipe) -> float:
    """What is kept for pairs of tokens: by sdpa the mask, made anew in each layer as numbers to add; by eager
    attention the float32 softmax of every head, and its cast."""
    length = recipe.tokens if recipe.packing else recipe.length
    pairs = float(recipe.tokens * length)
    if recipe.attention == "eager":
        return shape.heads * pairs * (_FLOAT + (recipe.width if recipe.width < _FLOAT else 0))
    return recipe.width * pairs if recipe.masked else 0.0


def _mlp(shape: Shape, recipe: Recipe, trained: Trained) -> float:
    """gate, up, act(gate): each [I]; their product, where down_proj is trained; the input [H]."""
    inner = 3 * shape.intermediate + (shape.intermediate if trained.on("down_proj") else 0)
    return recipe.width * inner + _inputs(shape.hidden, _count(trained, *_GATES), recipe)


def _experts(shape: Shape, recipe: Recipe) -> float:
    """For each of the k experts a token is sent to: its copy [H], gate and up [2I], act(gate) [I], the product [I]
    and the result before it is weighted [H]; as grouped matrix products keep them."""
    inner = 2 * shape.hidden + 4 * shape.expert_intermediate
    return float(shape.experts_per_token * recipe.width * inner + recipe.width * shape.hidden)


def _expert_copies(shape: Shape, recipe: Recipe, trained: Trained) -> float:
    """PEFT trains experts as a parametrization: each layer's forward makes W + BA anew, and keeps it."""
    if not trained.experts or recipe.full:
        return 0.0
    return recipe.width * shape.expert_elements / shape.layers


def _lora(shape: Shape, recipe: Recipe, trained: Trained) -> float:
    """x A [r] of each layer with an adapter; DoRA also keeps that layer's results, to scale them."""
    if recipe.full:
        return 0.0
    each = recipe.width * recipe.adapter.r * len(trained.linears)
    if recipe.adapter.type == "dora":
        each += 2 * recipe.width * sum(linear.outputs for linear in trained.linears)
    return each / shape.layers
