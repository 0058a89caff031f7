"""Mixtures of experts small enough for a test: two layers of four experts, as transformers writes them to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tiny import tokenizer_folder


def tiny_mixture(folder: Path, arch: str, *, hidden: int = 32, experts: int = 4, small: bool = False) -> Path:
    """Writes a random model (``mixtral``, ``qwen3_moe`` or ``gpt_oss``) into ``folder``, as the Hub would hold it.

    ``small``: with few tokens, for what does not ask llama.cpp.
    """
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GenerationConfig,
        GptOssConfig,
        MixtralConfig,
        Qwen3MoeConfig,
    )

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder(small=small))
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": hidden // 4,
        "num_experts_per_tok": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    match arch:
        case "mixtral":
            config = MixtralConfig(**shape, num_local_experts=experts)
        case "gpt_oss":
            config = GptOssConfig(**shape, num_local_experts=experts, layer_types=["full_attention"] * 2)
        case _:
            config = Qwen3MoeConfig(**shape, num_experts=experts, moe_intermediate_size=hidden)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# tiny\n")
    return folder
