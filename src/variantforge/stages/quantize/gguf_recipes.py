"""Which type each part of a model gets in a file such as Q4_K_M: one row per file type.

Most tensors get the file's ``usual`` type; the rows name the parts that get another one. The rules are those of
``llama-quantize`` (llama.cpp, src/llama-quant.cpp, August 2026); tests hold them against the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from variantforge.stages.quantize.gguf_types import FILE_TYPES

_LAYERS_OF_70B = {"llama": 80, "qwen2": 80, "deci": 80, "olmo": 80, "jais2": 68}


@dataclass(frozen=True)
class ModelShape:
    """What the choice depends on beside the tensor: read from a file's header."""

    architecture: str
    layers: int
    heads: int
    value_heads: int
    experts: int = 0

    @property
    def heads_per_value(self) -> int:
        return self.heads // self.value_heads if self.value_heads else 0

    @property
    def is_70b(self) -> bool:
        """Values are shared by so many heads there that more bits for them cost next to nothing."""
        shared = self.architecture != "llama" or self.heads != self.value_heads
        return shared and _LAYERS_OF_70B.get(self.architecture) == self.layers


class Seat(NamedTuple):
    """Where among its like a tensor sits: ``number`` (from 0) of ``total``. ``imatrix``: whether there is one."""

    number: int
    total: int
    model: ModelShape
    imatrix: bool

    @property
    def matters_more(self) -> bool:
        """The first and the last eighth, and every third in between."""
        eighth = self.total // 8
        return self.number < eighth or self.number >= 7 * self.total // 8 or (self.number - eighth) % 3 == 2


Rule = Callable[[Seat], str | None]  # the type instead of the usual one; None keeps the usual one


def always(kind: str | None) -> Rule:
    return lambda seat: kind


def where_it_matters(kind: str) -> Rule:
    return lambda seat: kind if seat.matters_more else None


def first(part: int, kind: str, others: str | None = None) -> Rule:
    """In the first ``1/part`` of the layers."""
    return lambda seat: kind if seat.number < seat.total // part else others


def first_few(count: int, kind: str, others: str | None = None) -> Rule:
    return lambda seat: kind if seat.number < count else others


def in_the_middle(kind: str) -> Rule:
    """In all layers but the first and the last eighth."""
    return lambda seat: kind if seat.total // 8 <= seat.number < 7 * seat.total // 8 else None


def shared(kind: str, others: Rule | None = None) -> Rule:
    """Where four heads or more share a value: it is small, and many depend on it."""
    rest = others or always(None)
    return lambda seat: kind if seat.model.heads_per_value >= 4 else rest(seat)


def shared_or_mixture(kind: str, others: str) -> Rule:
    return lambda seat: kind if seat.model.heads_per_value >= 4 or seat.model.experts >= 4 else others


def unguided(rule: Rule) -> Rule:
    """Only without an importance matrix."""
    return lambda seat: None if seat.imatrix else rule(seat)


def guided(rule: Rule) -> Rule:
    """Only with an importance matrix."""
    return lambda seat: rule(seat) if seat.imatrix else None


Recipe = dict[str, Rule]  # part of a model -> its rule; ``STACKED`` is before all others
STACKED = "stacked"  # matrices of all experts, in one tensor

_VALUE, _KEY, _QUERY, _OUTPUT, _DOWN = "value", "key", "query", "attention output", "down"
_GATE, _UP, _EMBEDDINGS, _HEAD = "gate", "up", "embeddings", "head"

RECIPES: dict[str, Recipe] = {
    "Q2_K": {_VALUE: shared("Q4_K", always("Q3_K")), _OUTPUT: always("Q3_K"), _DOWN: always("Q3_K")},
    "Q2_K_S": {_VALUE: shared("Q4_K"), _DOWN: first(8, "Q4_K")},
    "Q3_K_M": {_VALUE: first_few(2, "Q5_K", "Q4_K"), _OUTPUT: always("Q4_K"), _DOWN: first(16, "Q5_K", "Q4_K")},
    "Q3_K_L": {_VALUE: always("Q5_K"), _OUTPUT: always("Q5_K"), _DOWN: always("Q5_K")},
    "Q4_K_S": {_VALUE: first_few(4, "Q5_K"), _DOWN: first(8, "Q5_K")},
    "Q4_K_M": {_VALUE: where_it_matters("Q6_K"), _DOWN: where_it_matters("Q6_K")},
    "Q5_K_M": {_VALUE: where_it_matters("Q6_K"), _DOWN: where_it_matters("Q6_K")},
    "Q4_0": {_DOWN: guided(first(8, "Q4_1"))},
    "Q5_0": {_DOWN: guided(first(8, "Q5_1"))},
    "IQ4_NL": {_VALUE: shared("Q5_K"), _DOWN: unguided(first(8, "Q5_K"))},
    "IQ4_XS": {_VALUE: shared("Q5_K"), _DOWN: unguided(first(8, "Q5_K"))},
    "IQ3_M": {_VALUE: always("Q4_K"), _OUTPUT: always("Q4_K"), _DOWN: first(8, "Q4_K")},
    "IQ3_S": {_VALUE: shared("Q4_K")},
    "IQ3_XS": {
        _VALUE: shared("Q4_K"),
        **{part: always("IQ3_XXS") for part in (_KEY, _QUERY)},
        **{part: in_the_middle("IQ3_XXS") for part in (_GATE, _UP)},
    },
    "IQ3_XXS": {
        _HEAD: always("Q5_K"),
        _EMBEDDINGS: always("IQ3_S"),
        _VALUE: shared("Q4_K", unguided(always("IQ3_S"))),
        **{part: always("IQ2_S") for part in (_KEY, _QUERY)},
        _OUTPUT: always("IQ3_S"),
        _DOWN: unguided(first(8, "Q4_K", "Q3_K")),
    },
    "TQ1_0": {_EMBEDDINGS: always("Q4_K")},
    "TQ2_0": {_EMBEDDINGS: always("Q4_K")},
    "MXFP4_MOE": {STACKED: always("MXFP4")},
}


def _below_three_bits(more: str, output: str | None = None) -> Recipe:
    """``more``: the type of what must not be rounded that far."""
    return {
        _HEAD: always("Q5_K"),
        _EMBEDDINGS: always(more),
        _VALUE: shared_or_mixture("Q4_K", more),
        _DOWN: first(8, more),
        _OUTPUT: always(output),
    }


BELOW_THREE_BITS: dict[str, Recipe] = {
    "IQ2_M": _below_three_bits("IQ3_S", output="IQ3_S"),
    "IQ2_S": _below_three_bits("IQ3_S", output="IQ3_S"),
    "IQ2_XS": _below_three_bits("Q2_K"),
    "IQ2_XXS": _below_three_bits("Q2_K"),
    "IQ1_M": _below_three_bits("Q2_K", output="IQ2_XXS"),
    "IQ1_S": _below_three_bits("Q2_K", output="IQ2_XXS"),
}

_WITH_MORE_IN_THE_OUTPUT = (
    *("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M"),
    *("IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M", "IQ4_XS", "IQ4_NL"),
)


def _of_eight_experts(file_type: str) -> Recipe:
    """Attention is a small part of such a model: eight bits for it cost little."""
    if file_type in BELOW_THREE_BITS:
        return {_KEY: always("Q4_K"), _OUTPUT: always("Q5_K")}
    recipe = {
        _VALUE: always("Q8_0"),
        _KEY: always("Q8_0"),
        _OUTPUT: always("Q5_K" if file_type in _WITH_MORE_IN_THE_OUTPUT else None),
    }
    if file_type == "IQ3_M":
        recipe[_DOWN] = where_it_matters("Q4_K")
    return recipe


def _falcon_down(others_first: str, more: str) -> Rule:
    return lambda seat: others_first if seat.number < seat.total // 16 else more if seat.matters_more else None


_OF_FALCON: dict[str, Recipe] = {
    "Q3_K_M": {_DOWN: _falcon_down("Q5_K", "Q4_K")},
    "Q3_K_L": {_DOWN: always("Q4_K"), _OUTPUT: always("Q4_K")},
    "Q4_K_M": {_DOWN: _falcon_down("Q6_K", "Q5_K")},
    "Q4_K_S": {_DOWN: always(None)},
}


def recipe_of(file_type: str, model: ModelShape) -> Recipe:
    """The rules of a file type for one model."""
    recipe = (RECIPES | BELOW_THREE_BITS).get(file_type, {})
    if model.architecture == "falcon":
        as_usual = {} if file_type in BELOW_THREE_BITS else {_OUTPUT: always(None)}
        recipe = {_HEAD: always("Q8_0"), **{k: v for k, v in recipe.items() if k != _HEAD}, **as_usual}
        recipe |= _OF_FALCON.get(file_type, {})
    if model.experts == 8:
        recipe = recipe | _of_eight_experts(file_type)
    if model.is_70b and file_type not in BELOW_THREE_BITS:
        recipe = recipe | {_VALUE: _at_least_five_bits(recipe.get(_VALUE, always(None)), FILE_TYPES[file_type].usual)}
    return recipe


def _at_least_five_bits(rule: Rule, usual: str) -> Rule:
    def raised(seat: Seat) -> str | None:
        kind = rule(seat) or usual
        return "Q5_K" if kind in ("Q3_K", "Q4_K") else kind

    return raised
