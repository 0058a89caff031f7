"""The shape of a model as far as memory and arithmetic depend on it: from its config, and from its files' headers.

The names of weights are those of transformers (``model.layers.0.self_attn.q_proj``); a GGUF file's are translated.
Where no header can be read, the weights are those that the config of a Llama-like decoder stands for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from variantforge.stages.base.gguf_format import GgufHeader

Tensors = Mapping[str, tuple[int, ...]]

# Architectures whose activations were measured, or are those of a measured one by their own code in transformers.
KNOWN = frozenset({"llama", "mistral", "ministral", "qwen2", "qwen3", "qwen3_moe", "smollm3", "granite", "phi3"})
_HEAD_NORMS = frozenset({"qwen3", "qwen3_moe", "gemma3_text", "olmo2"})  # where no header says so
_FOUR_NORMS = frozenset({"gemma2", "gemma3_text"})
_GGUF_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.gate_proj",
    "ffn_up_exps": "mlp.experts.up_proj",
    "ffn_down_exps": "mlp.experts.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
_HEAD = "lm_head.weight"
_ROUTERS = ("mlp.gate.weight", "block_sparse_moe.gate.weight", "mlp.router.weight")


class UnknownShape(Exception):
    """What keeps a config from being estimated; told to people as the reason of an "unknown"."""


@dataclass(frozen=True)
class Linear:
    """A linear layer's weight, [out, in]. ``name`` is the module's, without ``.weight``."""

    name: str
    outputs: int
    inputs: int

    @property
    def elements(self) -> int:
        return self.outputs * self.inputs


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder. ``tensors``: every weight, name -> shape; a tied head is not among them."""

    model_type: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    experts: int
    experts_per_token: int
    expert_intermediate: int
    tensors: Tensors

    @property
    def query(self) -> int:
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def known(self) -> bool:
        return self.model_type in KNOWN

    @cached_property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.tensors.values())

    @cached_property
    def linears(self) -> tuple[Linear, ...]:
        """The ``nn.Linear`` layers of the body: no embedding, no head, no router, no expert."""
        return tuple(
            Linear(name.removesuffix(".weight"), *shape)
            for name, shape in self.tensors.items()
            if len(shape) == 2 and name.endswith(".weight") and not self._is_special(name)
        )

    def _is_special(self, name: str) -> bool:
        return name.endswith(_ROUTERS) or ".experts" in name or "embed" in name or "lm_head" in name

    @cached_property
    def linear_elements(self) -> int:
        return sum(linear.elements for linear in self.linears)

    @cached_property
    def expert_elements(self) -> int:
        """Weights of all experts. transformers holds them as two tensors a layer, which are no ``nn.Linear``."""
        return sum(math.prod(shape) for name, shape in self.tensors.items() if ".experts" in name)

    @cached_property
    def block_norms(self) -> int:
        """Norms over the hidden size in one layer: 2 in Llama, 4 in Gemma 2."""
        return self._norms_of_layer(self.hidden) or (4 if self.model_type in _FOUR_NORMS else 2)

    @cached_property
    def head_norms(self) -> bool:
        """Whether queries and keys are normed (Qwen3, Gemma 3)."""
        return any(name.endswith(("q_norm.weight", "k_norm.weight")) for name in self.tensors)

    def _norms_of_layer(self, size: int) -> int:
        return sum(
            1 for name, shape in self.tensors.items() if ".layers.0." in name and "norm" in name and shape == (size,)
        )

    @cached_property
    def active_linear_elements(self) -> int:
        """Weights that one token is multiplied with, but for the head: of the experts, those it is sent to."""
        share = self.experts_per_token / self.experts if self.experts else 0.0
        routers = sum(math.prod(shape) for name, shape in self.tensors.items() if name.endswith(_ROUTERS))
        return round(self.linear_elements + routers + share * self.expert_elements)

    @property
    def head_elements(self) -> int:
        return self.vocab * self.hidden


def shape_of_config(config: Mapping[str, Any], tensors: Tensors | None = None) -> Shape:
    """From config.json and, where they could be read, the tensors of the files. Raises UnknownShape."""
    text = config.get("text_config")
    config = {**config, **text} if isinstance(text, Mapping) else config
    heads = _number(config, "num_attention_heads", "n_head")
    hidden = _number(config, "hidden_size", "n_embd", "d_model")
    experts = _optional(config, "num_experts", "num_local_experts", "n_routed_experts")
    intermediate = _optional(config, "intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    shape = Shape(
        model_type=str(config.get("model_type", "")),
        hidden=hidden,
        layers=_number(config, "num_hidden_layers", "n_layer"),
        heads=heads,
        kv_heads=_optional(config, "num_key_value_heads") or heads,
        head_dim=_optional(config, "head_dim") or hidden // heads,
        intermediate=intermediate,
        vocab=_number(config, "vocab_size"),
        tied=_is_tied(config, tensors),
        experts=experts,
        experts_per_token=_optional(config, "num_experts_per_tok") if experts else 0,
        expert_intermediate=(_optional(config, "moe_intermediate_size") or intermediate) if experts else 0,
        tensors={},
    )
    tensors = tensors or dict(_llama_like(shape, config))
    kept = {name: size for name, size in tensors.items() if not (shape.tied and name.endswith(_HEAD))}
    return replace(shape, tensors=kept)


def _is_tied(config: Mapping[str, Any], tensors: Tensors | None) -> bool:
    """What the config says; where it says nothing, whether the files hold a head."""
    stated = config.get("tie_word_embeddings")
    if stated is None and tensors:
        return not any(name.endswith(_HEAD) for name in tensors)
    return bool(str(config.get("model_type")).startswith("gemma") if stated is None else stated)


def _number(config: Mapping[str, Any], *names: str) -> int:
    value = _optional(config, *names)
    if not value:
        raise UnknownShape(f"the base's config names no {names[0]}")
    return value


def _optional(config: Mapping[str, Any], *names: str) -> int:
    found = next((config[name] for name in names if type(config.get(name)) is int and config[name] > 0), 0)
    return int(found)


def _llama_like(shape: Shape, config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The weights of a Llama-like decoder of this shape."""
    yield "model.embed_tokens.weight", (shape.vocab, shape.hidden)
    norms = ["input_layernorm", "post_attention_layernorm"]
    norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if shape.model_type in _FOUR_NORMS else []
    biased = bool(config.get("attention_bias", shape.model_type == "qwen2"))
    for layer in range(shape.layers):
        start = f"model.layers.{layer}."
        for name, outputs, inputs in _layer_linears(shape):
            yield f"{start}{name}.weight", (outputs, inputs)
            if biased and name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
                yield f"{start}{name}.bias", (outputs,)
        if shape.experts:
            yield f"{start}mlp.gate.weight", (shape.experts, shape.hidden)
            yield f"{start}mlp.experts.gate_up_proj", (shape.experts, 2 * shape.expert_intermediate, shape.hidden)
            yield f"{start}mlp.experts.down_proj", (shape.experts, shape.hidden, shape.expert_intermediate)
        for name in norms:
            yield f"{start}{name}.weight", (shape.hidden,)
        if shape.model_type in _HEAD_NORMS:
            for name in ("q_norm", "k_norm"):
                yield f"{start}self_attn.{name}.weight", (shape.head_dim,)
    yield "model.norm.weight", (shape.hidden,)
    if not shape.tied:
        yield "lm_head.weight", (shape.vocab, shape.hidden)


def _layer_linears(shape: Shape) -> Iterator[tuple[str, int, int]]:
    yield "self_attn.q_proj", shape.query, shape.hidden
    yield "self_attn.k_proj", shape.key, shape.hidden
    yield "self_attn.v_proj", shape.key, shape.hidden
    yield "self_attn.o_proj", shape.hidden, shape.query
    if not shape.experts:
        yield "mlp.gate_proj", shape.intermediate, shape.hidden
        yield "mlp.up_proj", shape.intermediate, shape.hidden
        yield "mlp.down_proj", shape.hidden, shape.intermediate


def shape_of_gguf(header: GgufHeader) -> Shape:
    """From a GGUF file's header; its dimensions stand fastest first. Raises UnknownShape."""
    start = f"{header.architecture}."
    config = {name.removeprefix(start): value for name, value in header.metadata.items() if name.startswith(start)}
    tensors = {_from_gguf(tensor.name): tuple(reversed(tensor.shape)) for tensor in header.tensors}
    named = {
        "model_type": header.architecture.replace("qwen3moe", "qwen3_moe").replace("gemma3", "gemma3_text"),
        "hidden_size": config.get("embedding_length"),
        "num_hidden_layers": config.get("block_count"),
        "num_attention_heads": config.get("attention.head_count"),
        "num_key_value_heads": config.get("attention.head_count_kv"),
        "head_dim": config.get("attention.key_length"),
        "intermediate_size": config.get("feed_forward_length"),
        "vocab_size": header.length("tokenizer.ggml.tokens"),
        "num_experts": config.get("expert_count"),
        "num_experts_per_tok": config.get("expert_used_count"),
        "moe_intermediate_size": config.get("expert_feed_forward_length"),
    }
    return shape_of_config(named, tensors)


def _from_gguf(name: str) -> str:
    if match := re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name):
        layer, part, kind = match.groups()
        return f"model.layers.{layer}.{_GGUF_NAMES.get(part, part)}.{kind}"
    whole = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output.weight": "lm_head.weight",
        "output_norm.weight": "model.norm.weight",
    }
    return whole.get(name, name)
