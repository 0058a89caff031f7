"""How much memory each step to a GGUF file takes, beside the size of the model and of its largest shard.

    python -m benchmarks.quantize_memory [--layers 16] [--hidden 1024]

A random Llama, saved in shards of 50 MB, is converted and quantized, each step in a process of its own. Told is the
peak of what the processes of a step hold of their own (RssAnon); pages of files that are mapped are the system's to
take back. What python and the libraries take in a step is told by a model of next to nothing (--layers 1 --hidden 64).
Target: not more than two shards above that. Run from the repository's root.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gguf_quantize import done, machine
from tests.tiny import tokenizer_folder

from variantforge.fsops import write_json
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.stages.quantize.stage import STAGE
from variantforge.step import Artifact

RESULTS = Path(__file__).parent / "results" / "quantize_memory.json"
STEPS = ("source", "Q8_0", "Q4_K_M", "IQ4_XS")
SHARD = "50MB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--do", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.do:
        do_step(asked.do[0], Path(asked.do[1]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), asked.layers, asked.hidden)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    write_json(RESULTS, {**found, f"{asked.layers} layers of {asked.hidden}": result})
    print(json.dumps(result, indent=1))
    return 0


def measure(root: Path, layers: int, hidden: int) -> dict[str, Any]:
    subprocess.run(
        [sys.executable, "-c", _SAVE, str(root), str(layers), str(hidden), str(tokenizer_folder())], check=True
    )
    write_json(root / "merged" / "facts.json", {"name": "random llama"})
    parts = [part.stat().st_size for part in (root / "merged" / "model").glob("*.safetensors")]
    idle = peak_mb([sys.executable, "-c", "import benchmarks.quantize_memory, numpy, libgguf"])
    peaks = {step: peak_mb([sys.executable, "-m", __spec__.name, "--do", step, str(root)]) for step in STEPS}
    return {
        "machine": machine(),
        "model_mb": round(sum(parts) / 1e6, 1),
        "largest_shard_mb": round(max(parts) / 1e6, 1),
        "libraries_mb": idle,
        "peak_mb": peaks,
    }


_SAVE = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig
root, layers, hidden = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[4])
config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=3 * hidden,
    num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=4, tie_word_embeddings=True)
model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
model.save_pretrained(root + "/merged/model", max_shard_size="50MB")
tokenizer.save_pretrained(root + "/merged/model")
"""


def do_step(type: str, root: Path) -> None:
    merged = Artifact("merged", root / "merged")
    inputs = {"model": merged, "base": merged}
    if type != "source":
        inputs = {"model": merged, "source": Artifact("source", root / "source" / "out")}
    step = quantize_step("gguf", type, {role: one.key for role, one in inputs.items()})
    done(STAGE, step, root / type, inputs)


def peak_mb(command: list[str]) -> float:
    """Largest sum of RssAnon over a command's processes, looked at a hundred times a second, in MB."""
    process = subprocess.Popen(command)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(_anonymous_kib, _family(process.pid))))
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return round(peak * 1024 / 1e6, 1)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in _family(int(child)))]


def _anonymous_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    sys.exit(main())
