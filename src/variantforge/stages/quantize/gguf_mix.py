"""llama.cpp's choice of a type for each tensor of a file type such as Q4_K_M.

A file type is a mix: most tensors get its ``usual`` type, the ones that hurt most when they are rounded get more
bits. The rules below are those of ``llama-quantize`` (llama.cpp, src/llama-quant.cpp, August 2026) without an
importance matrix, as far as variantforge's file types use them; tests hold them against the real one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from variantforge.errors import QuantizeError
from variantforge.stages.quantize.gguf_types import FILE_TYPES, TYPES, Tensor

_NARROWER_BLOCKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}

# Never quantized, beside vectors, norms and whatever is not called "weight": expert routers, position tables,
# the small matrices of Mamba, RWKV, Gemma 3n, T5 and MiniMax, and parts of vision and audio towers.
_KEPT_WHOLE = frozenset({"position_embd.weight", "token_types.weight"})
_KEPT_PARTS = (
    *("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj"),
    *("ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "attn_rel_b.weight"),
    *(
        f"time_mix_{part}.weight"
        for part in ("first", "w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2")
    ),
    *("time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight"),
    *(".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger"),
    *("a.rvq.codebook", "mm.a.code_embd"),
)
_ROLES = {  # part of a name -> what the tensor does; the first match counts
    "attn_qkv.weight": "value",
    "attn_kv_b.weight": "value",
    "attn_v.weight": "value",
    "attn_k.weight": "key",
    "attn_output.weight": "attention output",
    "ffn_down": "down",
}
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
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
    """Where among its like a tensor sits: ``number`` (from 0) of ``total``."""

    number: int
    total: int

    @property
    def matters_more(self) -> bool:
        """The first and the last eighth, and every third in between."""
        eighth = self.total // 8
        return self.number < eighth or self.number >= 7 * self.total // 8 or (self.number - eighth) % 3 == 2


Rule = Callable[[Seat, ModelShape], str | None]


def _always(kind: str) -> Rule:
    return lambda seat, model: kind


def _where_it_matters(kind: str) -> Rule:
    return lambda seat, model: kind if seat.matters_more else None


# (role, file type) -> the type instead of the usual one; None keeps the usual one.
_RULES: dict[tuple[str, str], Rule] = {
    ("value", "Q2_K"): lambda seat, model: "Q4_K" if model.heads_per_value >= 4 else "Q3_K",
    ("value", "Q3_K_M"): lambda seat, model: "Q5_K" if seat.number < 2 else "Q4_K",
    ("value", "Q4_K_S"): lambda seat, model: "Q5_K" if seat.number < 4 else None,
    ("value", "Q4_K_M"): _where_it_matters("Q6_K"),
    ("value", "Q5_K_M"): _where_it_matters("Q6_K"),
    ("down", "Q2_K"): _always("Q3_K"),
    ("down", "Q3_K_M"): lambda seat, model: "Q5_K" if seat.number < seat.total // 16 else "Q4_K",
    ("down", "Q4_K_S"): lambda seat, model: "Q5_K" if seat.number < seat.total // 8 else None,
    ("down", "Q4_K_M"): _where_it_matters("Q6_K"),
    ("down", "Q5_K_M"): _where_it_matters("Q6_K"),
    ("attention output", "Q2_K"): _always("Q3_K"),
    ("attention output", "Q3_K_M"): _always("Q4_K"),
}
_RULES_OF_8_EXPERTS: dict[tuple[str, str], Rule] = {
    **{(role, file_type): _always("Q8_0") for role in ("value", "key") for file_type in FILE_TYPES},
    **{("attention output", file_type): _always("Q5_K") for file_type in ("Q2_K", "Q3_K_M", "Q4_K_S", "Q4_K_M")},
}


def _falcon_down(seat: Seat, first: str, more: str) -> str | None:
    return first if seat.number < seat.total // 16 else more if seat.matters_more else None


_RULES_OF_FALCON: dict[tuple[str, str], Rule] = {
    ("down", "Q3_K_M"): lambda seat, model: _falcon_down(seat, "Q5_K", "Q4_K"),
    ("down", "Q4_K_M"): lambda seat, model: _falcon_down(seat, "Q6_K", "Q5_K"),
    ("down", "Q4_K_S"): lambda seat, model: None,
    **{("attention output", file_type): lambda seat, model: None for file_type in FILE_TYPES},
}


def in_llama_order(tensors: Iterable[Tensor]) -> list[Tensor]:
    """As llama.cpp walks through a model and writes it: what lies outside the layers first, then layer by layer."""
    return sorted(tensors, key=lambda tensor: (tensor.layer, tensor.name))


def choose_types(file_type: str, model: ModelShape, tensors: Iterable[Tensor]) -> dict[str, str]:
    """Tensor name -> type, for every tensor of a 16-bit file. Raises QuantizeError for rows nothing fits."""
    ordered = in_llama_order(tensors)
    tied = all(tensor.name != "output.weight" for tensor in ordered)
    totals = {"value": sum(_role(tensor) == "value" for tensor in ordered), "down": model.layers}
    seen: Counter[str] = Counter()
    usual = FILE_TYPES[file_type].usual
    chosen = {}
    for tensor in ordered:
        if not _is_quantized(tensor):
            chosen[tensor.name] = tensor.type
        elif TYPES[usual].block == 1:
            chosen[tensor.name] = usual
        else:
            role = _role(tensor)
            by_name = role == "down" and model.experts > 1  # several down projections in one layer
            seat = Seat(tensor.layer if by_name else seen[role], totals.get(role, 0))
            seen[role] += 1
            head = tensor.name == "output.weight" or (tied and tensor.name in _EMBEDDINGS)
            kind = _head_type(usual, model, tensor) if head else _mixed(role, file_type, seat, model)
            chosen[tensor.name] = _fitting(tensor, kind)
    return chosen


def _is_quantized(tensor: Tensor) -> bool:
    is_matrix = any(length > 1 for length in tensor.shape[1:])
    kept = tensor.name in _KEPT_WHOLE or any(part in tensor.name for part in _KEPT_PARTS)
    return is_matrix and tensor.name.endswith("weight") and not kept


def _role(tensor: Tensor) -> str:
    return next((role for part, role in _ROLES.items() if part in tensor.name), "")


def _head_type(usual: str, model: ModelShape, tensor: Tensor) -> str:
    """The output matrix, or the embeddings when they are the output matrix too."""
    if model.architecture == "falcon" or tensor.shape[0] % TYPES[usual].block:
        return "Q8_0"
    return usual if usual == "Q8_0" else "Q6_K"


def _mixed(role: str, file_type: str, seat: Seat, model: ModelShape) -> str:
    rules = _RULES
    if model.architecture == "falcon":
        rules = rules | _RULES_OF_FALCON
    elif model.experts == 8:
        rules = rules | _RULES_OF_8_EXPERTS
    rule = rules.get((role, file_type))
    kind = (rule(seat, model) if rule else None) or FILE_TYPES[file_type].usual
    return "Q5_K" if role == "value" and model.is_70b and kind in ("Q3_K", "Q4_K") else kind


def _fitting(tensor: Tensor, kind: str) -> str:
    """A type whose blocks divide the rows: K-quants need rows of a multiple of 256, their stand-ins of 32."""
    columns = tensor.shape[0]
    if columns % TYPES[kind].block == 0:
        return kind
    if kind not in _NARROWER_BLOCKS:
        raise QuantizeError(
            f"{tensor.name}: rows of {columns} weights cannot be stored as {kind}",
            why=f"{kind} stores blocks of {TYPES[kind].block} weights, and llama.cpp has no other type in its place.",
            next="choose gguf:F16 or gguf:BF16 for this variant",
        )
    narrower = _NARROWER_BLOCKS[kind]
    return narrower if columns % TYPES[narrower].block == 0 else "F16"
