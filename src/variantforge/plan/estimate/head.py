"""What scoring tokens against the vocabulary holds: never all logits, but a tile of them."""

from __future__ import annotations

from variantforge.plan.estimate.adapter import Trained
from variantforge.plan.estimate.recipe import Recipe
from variantforge.plan.estimate.shape import Shape

_FLOAT = 4
TILE_BYTES = 128 << 20  # of float32 logits: stages/train/head.py
_TILE_TOKENS, _TILE_VOCAB = 4096, 32768  # trl/kernels/chunked_logprob.py
# Methods whose trainer in TRL 1.16 still makes all logits [tokens, V].
_PLAIN = frozenset({"orpo"})


def compact(shape: Shape, recipe: Recipe, trained: Trained) -> bool:
    """Whether the head of stages/train/head.py is used: on the CPU, for sft, where the head itself is frozen."""
    plain = recipe.method in ("sft", "continued") and not shape.experts
    return recipe.device == "cpu" and plain and not trained.head


def head_bytes(shape: Shape, recipe: Recipe, trained: Trained) -> float:
    """The most that the head holds at once, for a micro-batch whose tokens are all learned from."""
    if recipe.method in _PLAIN:
        return recipe.tokens * shape.vocab * float(recipe.width + 4 * _FLOAT)
    if compact(shape, recipe, trained):
        return _compact(shape, recipe)
    return _fused(shape, recipe, trained)


def _compact(shape: Shape, recipe: Recipe) -> float:
    """One tile of logits, of probabilities and of their products for the entropy, all float32; the slopes [H]."""
    rows = min(recipe.tokens, max(1, TILE_BYTES // (_FLOAT * shape.vocab)))
    states = recipe.tokens * shape.hidden * (recipe.width + _FLOAT)
    return float(3 * _FLOAT * rows * shape.vocab + states)


def _fused(shape: Shape, recipe: Recipe, trained: Trained) -> float:
    """TRL's fused head, backward: a tile in the arithmetic's width (as wide as its buffer, however small the
    vocabulary), float32 gradients of the hidden states, and of the head where it is trained.

    Without Triton the tile is folded by torch, with seven float32 copies and a mask of it.
    """
    rows, columns = min(recipe.tokens, _TILE_TOKENS), min(shape.vocab, _TILE_VOCAB)
    folding = 0 if recipe.device == "cuda" else rows * columns * (7 * _FLOAT + 1)
    held = float(rows * _TILE_VOCAB * recipe.width + folding)
    held += recipe.tokens * shape.hidden * (2 * _FLOAT + recipe.width)
    if recipe.base_width != recipe.width:
        held += recipe.width * columns * shape.hidden
    return held + (_FLOAT * shape.head_elements if trained.head else 0)
