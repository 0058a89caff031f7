from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from variantforge.stages.card.memory import Memory, bf16_bytes, kv_cache_bytes, memory_of, read_config

MIB = 1 << 20
LLAMA_3_8B = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}


# What llama.cpp printed as the size of the cache at 2,048 tokens, collected by its users:
# https://huggingface.co/dranger003/c4ai-command-r-v01-iMat.GGUF/discussions/6
@pytest.mark.parametrize(
    ("config", "mib"),
    [
        (LLAMA_3_8B, 256),
        (LLAMA_3_8B | {"num_hidden_layers": 80, "num_attention_heads": 64, "hidden_size": 8192}, 640),  # Llama 3 70B
        (LLAMA_3_8B | {"num_hidden_layers": 60, "num_attention_heads": 56, "hidden_size": 7168}, 480),  # Yi 34B
        ({"num_hidden_layers": 40, "num_attention_heads": 64, "hidden_size": 8192}, 2560),  # Command R: no groups
    ],
    ids=["llama-3-8b", "llama-3-70b", "yi-34b", "command-r"],
)
def test_the_cache_is_as_large_as_llama_cpp_says(config: dict[str, Any], mib: int) -> None:
    assert kv_cache_bytes(config, 2048) == mib * MIB


def test_a_head_as_large_as_the_configuration_says_counts() -> None:
    assert kv_cache_bytes(LLAMA_3_8B | {"head_dim": 64}, 2048) == 128 * MIB


def test_the_part_of_a_configuration_that_tells_of_text_counts() -> None:
    assert kv_cache_bytes({"text_config": LLAMA_3_8B, "vision_config": {}, "num_hidden_layers": 1}, 2048) == 256 * MIB


def test_layers_that_look_back_less_far_count_in_full() -> None:
    layers = ["sliding_attention", "full_attention"] * 16
    assert kv_cache_bytes(LLAMA_3_8B | {"layer_types": layers}, 2048) == 256 * MIB


@pytest.mark.parametrize(
    "odd",
    [
        {"kv_lora_rank": 512},
        {"layer_types": ["linear_attention", "full_attention"]},
        {"mamba_d_state": 16},
        {"multi_query": True},
        {"num_hidden_layers": None},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": True},
        {"num_key_value_heads": [8, 4]},
        {"hidden_size": "4096"},
    ],
    ids=str,
)
def test_of_a_model_that_keeps_something_else_nothing_is_said(odd: dict[str, Any]) -> None:
    assert kv_cache_bytes(LLAMA_3_8B | odd, 2048) is None
    assert memory_of(10, LLAMA_3_8B | odd) is None


def test_memory_is_weights_and_cache_of_a_context_that_the_model_has() -> None:
    assert memory_of(1000, LLAMA_3_8B) == Memory(1000, 512 * MIB, 4096)
    short = memory_of(1000, LLAMA_3_8B | {"max_position_embeddings": 2048})
    assert short == Memory(1000, 256 * MIB, 2048)
    assert short.total_bytes == 1000 + 256 * MIB


def test_weights_of_16_bit_take_what_their_file_takes(tiny_llama: Path) -> None:
    from safetensors import safe_open

    with safe_open(tiny_llama / "model.safetensors", framework="pt") as weights:
        tensors = [weights.get_tensor(name) for name in weights.keys()]  # noqa: SIM118  (no mapping)
    assert bf16_bytes(sum(it.numel() for it in tensors)) == sum(
        it.numel() * it.bfloat16().element_size() for it in tensors
    )


@pytest.mark.parametrize("content", [None, "", "[1]", "{", "\ufffe"])
def test_a_configuration_that_cannot_be_read_says_nothing(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert read_config(tmp_path) == {}


def test_a_real_cache_has_the_size_worked_out(tiny_llama: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.bfloat16)
    cache = model(torch.ones((1, 7), dtype=torch.long), use_cache=True).past_key_values
    kept = sum(it.numel() * it.element_size() for layer in cache.layers for it in (layer.keys, layer.values))
    assert kept == kv_cache_bytes(read_config(tiny_llama), 7)
