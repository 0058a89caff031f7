"""A whole small family on disk: a tiny real base, real rows, every stage."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = ["red", "blue", "green", "black", "white", "brown", "pink", "grey"]


def write_rows(path: Path, count: int = 64) -> None:
    """Questions with one short answer each: a tiny model gets better at them within a few steps."""
    rows = [
        {"prompt": f"Which colour has thing number {number}?", "completion": f"It is {WORDS[number % len(WORDS)]}."}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_family(folder: Path, base: Path, *, rank: int = 8, steps: int = 6, description: str = "") -> Path:
    """Writes ``family.yaml`` with two variants (LoRA with three formats, QLoRA with NF4) and their rows."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rows.jsonl").exists():
        write_rows(folder / "rows.jsonl")
    file = folder / "family.yaml"
    file.write_text(
        f"""\
family: tiny
description: "{description}"
base: {{model: {base}, license: apache-2.0}}
datasets:
  colours: {{path: ./rows.jsonl, format: prompt_completion, license: mit}}
defaults:
  train:
    args: {{max_steps: {steps}, learning_rate: 2.0e-2, per_device_train_batch_size: 8,
           gradient_accumulation_steps: 1, max_length: 128}}
variants:
  lora:
    kind: instruct
    data: {{mix: {{colours: 1.0}}}}
    train: {{adapter: {{r: {rank}}}}}
    quantize: [nf4, "gguf:Q8_0", "gguf:Q4_K_M"]
  qlora:
    kind: domain
    data: {{mix: {{colours: 1.0}}}}
    train: {{adapter: {{type: qlora, r: 8}}}}
    quantize: [nf4]
evaluate:
  heldout: {{evaluator: perplexity, fraction: 0.25, max_examples: 16, runtime_positions: 16}}
  parity: off
gates:
  - {{metric: heldout.loss, vs: base, better_by: 0.0}}
publish: {{path: ./published}}
"""
    )
    return file
