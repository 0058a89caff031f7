"""How much memory a model takes when it runs: its weights, and what it keeps of the text it has read.

Worked out from ``config.json`` alone. What a program takes for itself (buffers, a graph, Python) comes on top.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTEXT = 4096  # tokens; Ollama's default, and more than most questions need
_NUMBER_BYTES = 2  # bf16 or f16: what transformers and llama.cpp keep keys and values in unless told otherwise

# Layers that keep keys and values of (at most) every token. Others keep a state of another shape.
_ATTENTION = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
# Keys of models that keep something else, or count their heads elsewhere: of those nothing is said.
_OTHERWISE = ("kv_lora_rank", "multi_query", "num_kv_heads", "is_encoder_decoder", "hybrid_override_pattern")
_STATE_SPACE = ("mamba", "ssm", "linear_", "attn_layer", "recurrent")


@dataclass(frozen=True)
class Memory:
    """Bytes that running takes: ``weights_bytes``, and ``cache_bytes`` for ``context`` tokens of one conversation."""

    weights_bytes: int
    cache_bytes: int
    context: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.cache_bytes


def memory_of(weights_bytes: int, config: Mapping[str, Any]) -> Memory | None:
    """None where ``config.json`` does not tell what the cache takes. The context is 4,096 tokens, or the model's."""
    context = min(CONTEXT, _count(_text(config).get("max_position_embeddings")) or CONTEXT)
    cache_bytes = kv_cache_bytes(config, context)
    return None if cache_bytes is None else Memory(weights_bytes, cache_bytes, context)


def kv_cache_bytes(config: Mapping[str, Any], tokens: int) -> int | None:
    """What the keys and values of ``tokens`` tokens take at 16 bit: at most, where some layers look back less far.

    2 (a key and a value) x layers x key-value heads x size of a head x tokens x 2 bytes: each layer keeps both vectors
    of each key-value head for each token (Ainslie et al. 2023, "GQA", https://arxiv.org/abs/2305.13245); llama.cpp
    prints the same number as "KV buffer size". None for a model that keeps anything else.
    """
    text = _text(config)
    if any(text.get(key) for key in _OTHERWISE) or any(key.startswith(_STATE_SPACE) for key in text):
        return None
    if not set(text.get("layer_types") or ()) <= _ATTENTION:
        return None
    layers, heads, width = (
        _count(text.get(key)) for key in ("num_hidden_layers", "num_attention_heads", "hidden_size")
    )
    kv_heads = _count(text.get("num_key_value_heads", heads))
    head_size = _count(text.get("head_dim")) or (width // heads if width and heads else None)
    if layers is None or kv_heads is None or head_size is None:
        return None
    return 2 * layers * kv_heads * head_size * tokens * _NUMBER_BYTES


def bf16_bytes(parameters: int) -> int:
    """What weights of 16 bit take, in memory and on disk."""
    return 2 * parameters


def read_config(model: Path) -> dict[str, Any]:
    """A model folder's ``config.json``; {} where there is none to read."""
    try:
        config = json.loads((model / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that tells of text, in the configuration of a model that also sees or hears."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
