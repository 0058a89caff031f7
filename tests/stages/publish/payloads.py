"""Payloads of published repos: small files where only bytes matter."""

from __future__ import annotations

import json
from pathlib import Path

from variantforge.stages.stage import Place

CONFIG = {"model_type": "llama", "_name_or_path": "/home/me/base"}
TOKENIZER_CONFIG = {"tokenizer_class": "TokenizersBackend", "name_or_path": "/home/me/base"}
ADAPTER_CONFIG = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "/home/me/base", "revision": None}


def small(place: Place, folder: Path) -> None:
    """Fills what stands at a place as its stage would, with little in it."""
    if place.stage == "merge" or (place.stage, place.name) == ("quantize", "nf4"):
        model = folder / "model"
        model.mkdir()
        (model / "config.json").write_text(json.dumps(CONFIG))
        (model / "model.safetensors").write_bytes(f"weights of {place}".encode() * 100)
        (model / "tokenizer.json").write_text("{}")
        (model / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
        (model / "chat_template.jinja").write_text("{{ messages }}")
    elif place.stage == "quantize":
        (folder / "model.gguf").write_bytes(b"GGUF" + str(place).encode() * 100)
    elif place.stage == "train":
        adapter = folder / "adapter"
        adapter.mkdir()
        (adapter / "adapter_config.json").write_text(json.dumps(ADAPTER_CONFIG))
        (adapter / "adapter_model.safetensors").write_bytes(b"adapter" * 50)
        (adapter / "README.md").write_text("[More Information Needed]")
