"""How much memory each way of quantizing takes, beside the size of the model and of its largest file.

    python -m benchmarks.quantize_memory [--layers 28] [--hidden 1024] [--file-mb 202] [--steps nf4 gguf:Q4_K_M ...]

A random Llama, saved in files twice as large as its embeddings, is quantized, each step in a process of its own. Told
is the peak of what the processes of a step hold of their own (RssAnon); pages of files that are mapped are the system's
to take back. What python and the libraries take in a step is told by a model of next to nothing, of the same kind;
``held_files`` is what a step held above that, in sizes of the model's largest file. Target: at most 2. Run from the
repository's root.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gguf_quantize import done, machine
from tests.tiny import tokenizer_folder

from variantforge.fsops import write_json
from variantforge.stages.quantize.calibration import CALIBRATION
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.stages.quantize.stage import STAGE
from variantforge.stages.rows import make_row, write_rows
from variantforge.step import Artifact

RESULTS = Path(__file__).parent / "results" / "quantize_memory.json"
SOURCE = "gguf:source"
IMATRIX = "gguf:imatrix"
STEPS = ("nf4", "int8", "fp8", "w8a8", "w4a16", SOURCE, "gguf:Q8_0", "gguf_lora:F16", IMATRIX, "gguf:Q4_K_M")
NEXT_TO_NOTHING = (1, 256)  # layers, hidden size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--file-mb", type=int, default=202)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--do", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.do:
        do_step(asked.do[0], Path(asked.do[1]), "measured")
        return 0
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        compare(Path(small), Path(large), asked)
    return 0


def compare(small: Path, large: Path, asked: argparse.Namespace) -> None:
    """Writes the figures of each step as soon as they are known; those of steps that are not asked for stay."""
    prepare(small, *NEXT_TO_NOTHING, asked.file_mb)
    files = prepare(large, asked.layers, asked.hidden, asked.file_mb)
    sizes = {
        "hidden": asked.hidden,
        "model_mb": round(sum(files) / 1e6, 1),
        "largest_file_mb": round(max(files) / 1e6, 1),
        "files": len(files),
    }
    for step in asked.steps:
        least, peak = (
            peak_mb([sys.executable, "-m", __spec__.name, "--do", step, str(root)]) for root in (small, large)
        )
        held = round((peak - least) / (max(files) / 1e6), 2)
        print(f"{step:14}{peak:9.1f} MB, {held:5.2f} files above its libraries", flush=True)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        title = f"{asked.layers} layers of {asked.hidden}, files of {asked.file_mb} MB"
        steps = {**known.get(title, {}).get("steps", {}), step: _figures(least, peak, held)}
        write_json(RESULTS, {**known, title: {"machine": machine(), **sizes, "steps": steps}})


def _figures(least: float, peak: float, held: float) -> dict[str, float]:
    return {"libraries_mb": least, "peak_mb": peak, "held_files": held}


def prepare(root: Path, layers: int, hidden: int, file_mb: int) -> list[int]:
    """A merged model, its 16-bit GGUF file and an adapter that changes nothing; returns the sizes of the files."""
    command = [sys.executable, "-c", _SAVE, str(root), str(layers), str(hidden), str(file_mb), str(tokenizer_folder())]
    subprocess.run(command, check=True)
    write_json(root / "merged" / "facts.json", {"name": "random llama", "stop_token_ids": [2]})
    for name in ("adapter", "data"):
        write_json(root / name / "facts.json", {})
    chat = [{"role": "user", "content": "Which colour?"}, {"role": "assistant", "content": "It is a kind of blue."}]
    write_rows(root / "data" / "train.jsonl", [make_row("rows", {"messages": chat})])
    rows = [list(range(256))] * 4
    write_json(root / CALIBRATION / "facts.json", {"tokens": sum(map(len, rows))})
    (root / CALIBRATION / f"{CALIBRATION}.jsonl").write_text("".join(f"{json.dumps(ids)}\n" for ids in rows))
    do_step(SOURCE, root, "made")
    return [part.stat().st_size for part in (root / "merged" / "model").glob("*.safetensors")]


_SAVE = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig
root, layers, hidden, file_mb = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
tokenizer = AutoTokenizer.from_pretrained(sys.argv[5])
config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=3 * hidden,
    num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=4, tie_word_embeddings=True)
model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
model.save_pretrained(root + "/merged/model", max_shard_size=file_mb + "MB")
tokenizer.save_pretrained(root + "/merged/model")
pairs = {}
for layer in range(layers):
    name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_"
    pairs |= {name + "A.weight": torch.randn(8, hidden), name + "B.weight": torch.zeros(hidden, 8)}
adapter = Path(root) / "adapter" / "adapter"
adapter.mkdir(parents=True)
save_file(pairs, adapter / "adapter_model.safetensors")
settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "bias": "none",
    "fan_in_fan_out": False, "target_modules": ["q_proj"]}
(adapter / "adapter_config.json").write_text(json.dumps(settings))
"""


def do_step(name: str, root: Path, folder: str) -> None:
    method, _, type = name.partition(":")
    merged = Artifact("merged", root / "merged")
    source = Artifact("source", root / "made" / SOURCE / "out")
    inputs = {
        SOURCE: {"model": merged, "base": merged},
        "gguf": {"model": merged, "source": source},
        IMATRIX: {"model": merged, "source": source, CALIBRATION: Artifact(CALIBRATION, root / CALIBRATION)},
        "gguf_lora": {
            "model": merged,
            "base": merged,
            "source": source,
            **{role: Artifact(role, root / role) for role in ("adapter", "data")},
        },
    }
    given = inputs.get(name) or inputs.get(method) or {"model": merged}
    step = quantize_step(method, type, {role: one.key for role, one in given.items()})
    done(STAGE, step, root / folder / name, given)


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
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return [pid, *(one for child in children for one in _family(child))]


def _anonymous_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    sys.exit(main())
