"""Every GGUF file type made in process and by llama.cpp's own ``llama-quantize``: the same bytes, or not.

    make llama.cpp
    LLAMA_CPP_DIR=.cache/llama.cpp python -m benchmarks.gguf_agreement [--models llama qwen3] [--types Q4_K_M ...]

Random models of two layers with rows of 256, and the importance matrix of each over a text of ours; types that read
one are made with it, the others without. What was found earlier of other models and types stays in the results.
Target: equal bytes throughout. Run from the repository's root.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.gguf_quantize import done, machine
from tests.tiny import tiny_model
from tests.tiny_mixtures import tiny_mixture

from variantforge.fsops import write_json
from variantforge.hashing import file_digest
from variantforge.stages.models import load_model
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_types import FILE_TYPES
from variantforge.stages.quantize.gguf_write import quantize_file
from variantforge.stages.quantize.imatrix import FILE, Imatrix, read_imatrix, write_imatrix
from variantforge.stages.quantize.importance import importance_of
from variantforge.stages.quantize.llama_cpp import find_quantize
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.stages.quantize.stage import STAGE
from variantforge.step import Artifact

RESULTS = Path(__file__).parent / "results" / "gguf_agreement.json"
TEXT = " ".join(f"Thing number {n} is {n % 7} times as old as thing {n * n % 11}, and not as red." for n in range(200))
MODELS = {
    "llama": lambda folder: tiny_model(folder, "llama", hidden=256),
    "qwen3": lambda folder: tiny_model(folder, "qwen3", hidden=256),
    "qwen3_moe": lambda folder: tiny_mixture(folder, "qwen3_moe", hidden=256),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--types", nargs="+", choices=FILE_TYPES, default=list(FILE_TYPES))
    asked = parser.parse_args()
    program = find_quantize()
    if program is None:
        print("llama-quantize was not found: make llama.cpp, then set LLAMA_CPP_DIR=.cache/llama.cpp", file=sys.stderr)
        return 1
    found: dict[str, Any] = json.loads(RESULTS.read_text())["models"] if RESULTS.exists() else {}
    for name in asked.models:
        with tempfile.TemporaryDirectory() as folder:
            for type, one in compared(program, name, Path(folder), asked.types):
                found[name] = {**found.get(name, {}), type: one}
                write_json(RESULTS, {"machine": machine(), "models": found})
    same = [one["same_bytes"] for table in found.values() for one in table.values()]
    print(f"{sum(same)} of {len(same)} files have the same bytes")
    return 0 if all(same) else 1


def compared(program: Path, name: str, root: Path, types: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each type and what came of it."""
    source, imatrix = prepared(name, root)
    print(f"{name}\n{'':12}{'imatrix':>9}{'bits':>8}{'MB':>8}  same bytes")
    for type in types:
        guided = bool(FILE_TYPES[type].imatrix)
        ours, theirs = root / "ours.gguf", root / "theirs.gguf"
        quantize_file(GgufFile.open(source), ours, type, lambda *_: None, read_imatrix(imatrix) if guided else None)
        weighed = ["--imatrix", imatrix.name] if guided else []
        subprocess.run([program, *weighed, source, theirs, type], cwd=root, check=True, capture_output=True)
        made = GgufFile.open(ours)
        one = {
            "imatrix": guided,
            "bits_per_weight": round(made.bits_per_weight, 3),
            "size_bytes": ours.stat().st_size,
            "same_bytes": file_digest(ours) == file_digest(theirs),
        }
        told = "yes" if one["same_bytes"] else "NO"
        size = f"{made.bits_per_weight:8.2f}{ours.stat().st_size / 1e6:8.2f}"
        print(f"{type:12}{'yes' if guided else '':>9}{size}  {told}", flush=True)
        yield type, one


def prepared(name: str, root: Path) -> tuple[Path, Path]:
    """A model as 16-bit GGUF file, and its importance matrix."""
    from transformers import AutoTokenizer

    model = MODELS[name](root / "merged" / "model")
    merged = Artifact("merged", root / "merged")
    write_json(merged.path / "facts.json", {"name": f"tiny {name}"})
    inputs = {"model": merged, "base": merged}
    step = quantize_step("gguf", "source", {role: one.key for role, one in inputs.items()})
    source = done(STAGE, step, root / "source", inputs).path / "model.gguf"
    ids = AutoTokenizer.from_pretrained(model)(TEXT)["input_ids"]
    rows = [ids[start : start + 256] for start in range(0, len(ids), 256)]
    sums = importance_of(load_model(model), GgufFile.open(source), rows)
    entries = {tensor: one.entry() for tensor, one in sums.items()}
    write_imatrix(root / FILE, Imatrix(entries, ("text",), len(ids) // 512))
    return source, root / FILE


if __name__ == "__main__":
    sys.exit(main())
