"""What formats of a model in many files hold of it, in a process of their own: neither the model, nor what it becomes.

A step that holds what it makes, and what the C library keeps of freed pieces, is well above half of this model.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FORMATS = ("fp8", "nf4", "int8")
_SCRIPT = '''
import sys, threading, time
from pathlib import Path
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from tests.stages.quantize.conftest import artifact, quantize

root, formats = Path(sys.argv[1]), sys.argv[2:]
seen = []

def held() -> int:
    """Memory of this process that no file stands behind, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

def watch() -> None:
    while True:
        seen.append(held())
        time.sleep(0.002)

def model(name: str, hidden: int, layers: int) -> Path:
    config = AutoConfig.for_model("llama", vocab_size=128, hidden_size=hidden, intermediate_size=3 * hidden,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(root / name, max_shard_size="4MB")
    return root / name

threading.Thread(target=watch, daemon=True).start()
small, large = model("small", 128, 1), model("large", 512, 24)
for format in formats:
    quantize(root / f"{format} first", format, "", {"model": artifact(root / f"{format} a", model=small)})
    seen.clear()
    before = held()
    quantize(root / format, format, "", {"model": artifact(root / f"{format} b", model=large)})
    print(format, max(seen) - before, sum(file.stat().st_size for file in large.glob("*.safetensors")))
'''


def test_less_than_half_of_the_model_is_held(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path), *FORMATS]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in told.splitlines()]
    assert [line[0] for line in lines] == list(FORMATS)
    assert {format: int(held) < int(size) / 2 for format, held, size in lines} == dict.fromkeys(FORMATS, True), told
