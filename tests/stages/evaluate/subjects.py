"""Artifacts to measure, made without the stages that usually make them: tiny real models and held-out rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from variantforge.stages.rows import make_row, write_rows
from variantforge.step import FACTS, Artifact, Step, StepContext

SENTENCES = (
    "The parser reads one line and returns a node.",
    "Each request opens a connection, sends its headers, and waits for an answer.",
    "A mapping keeps its keys in the order of insertion.",
    "def add(a, b):\n    return a + b",
    "Errors that are not caught end the program.",
)


def artifact(root: Path, name: str, facts: dict[str, Any] | None = None) -> Artifact:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).write_text(json.dumps(facts or {}))
    return Artifact(name, folder)


def model_artifact(root: Path, name: str, source: Path) -> Artifact:
    """As the base and merge stages leave one; 2 is SmolLM2's end of turn."""
    made = artifact(root, name, {"stop_token_ids": [2]})
    shutil.copytree(source, made.path / "model")
    return made


def chats(count: int) -> list[dict[str, Any]]:
    return [
        make_row(
            "talk",
            {
                "messages": [
                    {"role": "user", "content": f"Question {number}?"},
                    {"role": "assistant", "content": " ".join(SENTENCES[: 1 + number % len(SENTENCES)])},
                ]
            },
        )
        for number in range(count)
    ]


def data_artifact(root: Path, rows: list[dict[str, Any]], name: str = "data") -> Artifact:
    made = artifact(root, name)
    write_rows(made.path / "heldout.jsonl", rows)
    write_rows(made.path / "train.jsonl", [])
    return made


def nudged(source: Path, target: Path, size: float, seed: int = 1) -> Path:
    """A copy of a model with noise of relative ``size`` on every weight: what another training would look like."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    torch.manual_seed(seed)
    path = target / "model.safetensors"
    state = {
        k: (v.float() + size * v.float().std() * torch.randn(v.shape)).to(v.dtype) for k, v in load_file(path).items()
    }
    save_file(state, path, metadata={"format": "pt"})
    return target


def gguf_artifact(root: Path, name: str, merged: Artifact, file_type: str) -> Artifact:
    """The merged model as GGUF, converted by llama.cpp's converter and rounded in process."""
    from variantforge.stages.quantize.gguf_source import convert
    from variantforge.stages.quantize.gguf_write import quantize_file

    made, scratch = artifact(root, name), root / f"{name}-scratch"
    scratch.mkdir()
    inputs = {"model": merged, "base": artifact(root, f"{name}-base", {"name": "tiny"})}
    source = convert(StepContext(Step("quantize", 1, "gguf"), inputs, made.path, scratch), scratch / "bf16.gguf")
    quantize_file(source, made.path / "model.gguf", file_type, lambda done, total: None)
    return made


def nf4_artifact(root: Path, name: str, merged: Artifact) -> Artifact:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    made = artifact(root, name)
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    model = AutoModelForCausalLM.from_pretrained(merged.path / "model", quantization_config=config)
    model.save_pretrained(made.path / "model")
    AutoTokenizer.from_pretrained(merged.path / "model").save_pretrained(made.path / "model")
    return made


def sharpened(source: Path, target: Path, factor: float = 8.0) -> Path:
    """A copy of a random model with larger matrices: it has opinions, so that what is broken in it shows."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    path = target / "model.safetensors"
    state = {name: tensor * factor if tensor.dim() > 1 else tensor for name, tensor in load_file(path).items()}
    save_file(state, path, metadata={"format": "pt"})
    return target


def altered(measured: Artifact, root: Path, name: str, alter: Callable[[dict[str, Any]], None]) -> Artifact:
    """A copy of a model artifact whose tensors ``alter`` has changed in place."""
    from safetensors.torch import load_file, save_file

    made = model_artifact(root, name, measured.path / "model")
    state = load_file(made.path / "model" / "model.safetensors")
    alter(state)
    save_file(state, made.path / "model" / "model.safetensors", metadata={"format": "pt"})
    return made
