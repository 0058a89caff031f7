"""llama.cpp's choice of a type for each tensor of a file type such as Q4_K_M.

A file type is a mix: most tensors get its ``usual`` type, the ones that hurt most when they are rounded get more
bits (``gguf_recipes``); some are never rounded, and rows that a type's blocks do not divide get another type. All as
in ``llama-quantize`` (llama.cpp, src/llama-quant.cpp, August 2026); tests hold it against the real one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from variantforge.errors import QuantizeError
from variantforge.stages.quantize.gguf_recipes import BELOW_THREE_BITS, STACKED, ModelShape, Seat, recipe_of
from variantforge.stages.quantize.gguf_types import FILE_TYPES, TYPES, Tensor

# What stands in where blocks do not divide the rows.
_NARROWER_BLOCKS = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
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
_PARTS = {  # part of a name -> what the tensor does; the first match counts
    "attn_qkv.weight": "value",
    "attn_kv_b.weight": "value",
    "attn_v.weight": "value",
    "attn_k.weight": "key",
    "attn_q.weight": "query",
    "attn_output.weight": "attention output",
    "ffn_up": "up",
    "ffn_gate": "gate",
    "ffn_down": "down",
}
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
_OF_EACH_LAYER = ("up", "gate", "down")  # a mixture may have several of them in one layer
_NEED_IMATRIX = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})


def in_llama_order(tensors: Iterable[Tensor]) -> list[Tensor]:
    """As llama.cpp walks through a model and writes it: what lies outside the layers first, then layer by layer."""
    return sorted(tensors, key=lambda tensor: (tensor.layer, tensor.name))


def choose_types(
    file_type: str, model: ModelShape, tensors: Iterable[Tensor], *, imatrix: bool = False
) -> dict[str, str]:
    """Tensor name -> type, for every tensor of a 16-bit file. Raises QuantizeError for rows nothing fits."""
    ordered = in_llama_order(tensors)
    parts = {tensor.name: _part(tensor, ordered) for tensor in ordered}
    layers = dict.fromkeys(_OF_EACH_LAYER, model.layers)
    totals = {**layers, "value": sum(part == "value" for part in parts.values())}
    by_name = _OF_EACH_LAYER if model.experts > 1 and file_type not in BELOW_THREE_BITS else ()
    recipe, usual = recipe_of(file_type, model), FILE_TYPES[file_type].usual
    seen: Counter[str] = Counter()
    chosen = {}
    for tensor in ordered:
        if not is_quantized(tensor):
            chosen[tensor.name] = tensor.type
        elif TYPES[usual].block == 1:
            chosen[tensor.name] = usual
        else:
            part = parts[tensor.name]
            seat = Seat(tensor.layer if part in by_name else seen[part], totals.get(part, 0), model, imatrix)
            seen[part] += 1
            rule = recipe.get(STACKED) if tensor.is_stacked and part != "head" else None
            rule = rule or recipe.get(part)
            kind = (rule(seat) if rule else None) or _without_rule(part, usual)
            if part == "head" and tensor.shape[0] % TYPES[usual].block:
                kind = "Q8_0"
            chosen[tensor.name] = _fitting(tensor, kind)
    return chosen


def needs_imatrix(file_type: str, tensor: Tensor, kind: str) -> bool:
    """Whether llama.cpp refuses to round a tensor to ``kind`` without an importance matrix."""
    if tensor.name in ("output.weight", *_EMBEDDINGS) or not is_quantized(tensor):
        return False
    return kind in _NEED_IMATRIX or (file_type == "Q2_K_S" and kind == "Q2_K")


def is_quantized(tensor: Tensor) -> bool:
    """Whether a tensor is ever rounded: matrices called "weight", but for a few small or delicate ones."""
    kept = tensor.name in _KEPT_WHOLE or any(part in tensor.name for part in _KEPT_PARTS)
    return tensor.is_matrix and tensor.name.endswith("weight") and not kept


def _part(tensor: Tensor, all: Iterable[Tensor]) -> str:
    """What a tensor does; the embeddings are the head where a model has no other."""
    if tensor.name == "output.weight":
        return "head"
    if tensor.name in _EMBEDDINGS:
        return "embeddings" if any(other.name == "output.weight" for other in all) else "head"
    return next((part for name, part in _PARTS.items() if name in tensor.name), "")


def _without_rule(part: str, usual: str) -> str:
    return "Q6_K" if part == "head" and usual != "Q8_0" else usual


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
