"""Predicted against measured memory of real training steps, on random bases of 10 to 200 million parameters.

    python -m benchmarks.memory [--only NAME ...] [--write-docs]

Each case is trained for two optimizer steps in a process of its own (benchmarks/memory_step.py), under a ledger of all
tensors; the kernel says how much memory the process held at most. The
prediction is the planner's own, from the base's config and headers. On CUDA the figures are
those of torch's allocator. Prints a table, writes benchmarks/results/memory.json, and with --write-docs the table of
docs/memory.md. Target: within 10 %.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.memory_step import longest_of, measured, step_of

from variantforge.fsops import write_json, write_text
from variantforge.plan.estimate.machine import Machine, this_machine
from variantforge.plan.estimate.memory import PROCESS_BYTES, SLACK, Memory, memory_of
from variantforge.plan.estimate.recipe import recipe_of
from variantforge.plan.estimate.shape import shape_of_config

RESULTS = Path(__file__).parent / "results" / "memory.json"
DOCS = Path(__file__).parents[1] / "docs" / "memory.md"
BEGIN, END = "<!-- table: predicted against measured -->", "<!-- end of table -->"
TARGET = 0.10
Case = Mapping[str, Any]


def decoder(kind: str, hidden: int, inner: int, layers: int, heads: int, kv: int, vocab: int, **more: Any) -> Case:
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": vocab,
        "tie_word_embeddings": True,
        **more,
    }


LLAMA = decoder("llama", 512, 1536, 4, 8, 4, 49152)
DEEPER = decoder("llama", 512, 1536, 8, 8, 4, 49152)
SMOL = decoder("llama", 576, 1536, 30, 9, 3, 49152)
DEEP = decoder("llama", 512, 1536, 8, 8, 8, 2048)
QWEN2 = decoder("qwen2", 768, 2048, 4, 12, 2, 8192)
QWEN3 = decoder("qwen3", 384, 1024, 5, 6, 2, 49152, head_dim=64)
MISTRAL = decoder("mistral", 640, 1792, 4, 10, 2, 16384, tie_word_embeddings=False, sliding_window=None)
MOE = decoder("qwen3_moe", 384, 1024, 3, 8, 4, 2048, head_dim=64, moe_intermediate_size=256, num_experts=16,
              num_experts_per_tok=4, decoder_sparse_step=1, mlp_only_layers=[], norm_topk_prob=True)  # fmt: skip


def case(model: Case, rows: int, length: int, **more: Any) -> Case:
    given = {name: more.pop(name) for name in ("adapter", "attention", "method", "teacher", "answers") if name in more}
    if given.get("method") == "distill":  # which has no max_length: an answer of so many tokens
        return {"model": model, **given, "args": {"per_device_train_batch_size": rows, "max_completion_length": length}}
    return {"model": model, **given, "args": {"per_device_train_batch_size": rows, "max_length": length, **more}}


CASES: dict[str, Case] = {
    "llama lora": case(LLAMA, 1, 384),
    "llama lora, ragged batch": case(LLAMA, 4, 128),
    "llama lora, float32": case(LLAMA, 2, 128, bf16=False),
    "llama lora, checkpointing": case(DEEP, 4, 128, activation_checkpointing=True),
    "llama lora, long": case(DEEP, 1, 768),
    "llama lora, accumulation, q and v": case(DEEP, 2, 128, gradient_accumulation_steps=2,
                                              adapter={"target_modules": ["q_proj", "v_proj"], "r": 64}),
    "llama qlora": case(LLAMA, 2, 128, adapter={"type": "qlora"}),
    "llama full": case(DEEP, 2, 128, adapter={"type": "full"}),
    "llama full, large vocabulary": case(LLAMA, 1, 128, adapter={"type": "full"}, gradient_accumulation_steps=2),
    "llama full, adafactor, float32": case(DEEP, 1, 128, adapter={"type": "full"}, optim="adafactor", bf16=False),
    "SmolLM2's shape, lora": case(SMOL, 1, 128),
    "qwen2 lora, dropout": case(QWEN2, 3, 128, adapter={"dropout": 0.05}),
    "qwen2 lora, packing": case(QWEN2, 2, 192, packing=True),
    "qwen3 lora": case(QWEN3, 8, 128),
    "qwen3 lora, eager attention": case(QWEN3, 1, 384, attention="eager"),
    "mistral lora, untied": case(MISTRAL, 3, 128),
    "mixture of experts, lora": case(MOE, 2, 128),
    "dpo, lora": case(LLAMA, 2, 192, method="dpo"),
    "dpo, full": case(LLAMA, 1, 128, method="dpo", adapter={"type": "full"}),
    "kto, lora": case(LLAMA, 4, 128, method="kto"),
    "orpo, lora": case(LLAMA, 2, 128, method="orpo"),
    "distill on rows, lora": case(LLAMA, 2, 160, method="distill", teacher=DEEPER, answers="rows"),
    "distill on its own answers, full": case(LLAMA, 4, 64, method="distill", teacher=DEEPER, adapter={"type": "full"}),
}  # fmt: skip


def predict(one: Case, machine: Machine) -> Memory:
    recipe = recipe_of(step_of(one), machine, longest_of(one), one.get("attention", "sdpa"))
    teacher = shape_of_config(one["teacher"]) if "teacher" in one else None
    return memory_of(shape_of_config(one["model"]), recipe, teacher)


def compare(name: str, machine: Machine, measured: Mapping[str, int]) -> dict[str, Any]:
    memory = predict(CASES[name], machine)
    return {
        "case": CASES[name],
        "parameters": shape_of_config(CASES[name]["model"]).parameters,
        "moment": memory.moment,
        "rough": memory.rough,
        "terms": {term: round(size) for term, size in memory.moments[memory.moment].items() if size},
        "predicted": {"tensors": memory.tensors, "process": memory.peak},
        "measured": measured,
        "error": {
            "tensors": round(memory.tensors / measured["tensors"] - 1, 4),
            "process": round(memory.peak / measured["process"] - 1, 4),
        },
    }


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """The table of docs/memory.md: megabytes of 10^6 bytes."""
    yield "| training | parameters | tensors: predicted | measured | error | process: predicted | measured | error |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for name, one in ((name, result["cases"][name]) for name in CASES if name in result["cases"]):
        cells = [name, f"{one['parameters'] / 1e6:.0f} M"]
        for what in ("tensors", "process"):
            cells += [f"{one[side][what] / 1e6:,.0f} MB" for side in ("predicted", "measured")]
            cells.append(f"{one['error'][what]:+.1%}")
        yield f"| {' | '.join(cells)} |"


def errors(result: Mapping[str, Any], what: str) -> list[float]:
    """How far off each prediction was; processes that the plan itself calls rough are left out."""
    return [abs(one["error"][what]) for one in result["cases"].values() if what == "tensors" or not one["rough"]]


def summary(result: Mapping[str, Any]) -> str:
    worst = {what: max(errors(result, what)) for what in ("tensors", "process")}
    return f"{len(result['cases'])} trainings; largest error {worst['tensors']:.1%} of tensors, " \
           f"{worst['process']:.1%} of the process (without those called rough)."  # fmt: skip


def machine_document(machine: Machine) -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "device": machine.device,
        "bf16": machine.bf16,
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        **{name: version(name) for name in ("torch", "transformers", "trl", "peft", "bitsandbytes")},
    }


def write_docs(result: Mapping[str, Any]) -> None:
    text = DOCS.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    lines = "\n".join([*table(result), "", summary(result)])
    write_text(DOCS, f"{before}{BEGIN}\n{lines}\n{END}{after}")


def _known() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(RESULTS.read_text())["cases"] if RESULTS.exists() else {}
    return known


def write_results(peaks: Mapping[str, Mapping[str, int]], machine: Machine) -> dict[str, Any]:
    """What was measured so far, each beside what is predicted now."""
    cases = {name: compare(name, machine, peaks[name]) for name in CASES if name in peaks}
    slack = 1 + SLACK[machine.device]
    beside = [
        one["measured"]["process"] - slack * one["measured"]["tensors"] for one in cases.values() if not one["rough"]
    ]
    result = {
        "machine": machine_document(machine),
        "process_bytes": round(statistics.median(beside)) if machine.device == "cpu" else PROCESS_BYTES["cuda"],
        "cases": cases,
    }
    write_json(RESULTS, result)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(CASES), help="these cases; the others keep their figures")
    parser.add_argument("--write-docs", action="store_true", help="also the table of docs/memory.md")
    asked, machine = parser.parse_args(), this_machine()
    peaks = {name: one["measured"] for name, one in _known().items() if one["case"] == CASES.get(name)}
    for name in asked.only:
        peaks[name] = measured(CASES[name])
        write_results(peaks, machine)
    result = write_results(peaks, machine)
    if asked.write_docs:
        write_docs(result)
    print(*table(result), summary(result), sep="\n")
    return 0 if max([*errors(result, "tensors"), *errors(result, "process")]) <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
