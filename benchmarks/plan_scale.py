"""How long planning takes for a generated family of 1,000 variants: cold, and warm when nothing changed.

    python -m benchmarks.plan_scale [--variants 1000] [--rounds 5]

Cold: a fresh process, an empty store. Warm no-op: the same command again with every artifact in the store (empty
folders with a manifest: planning never reads weights); the plan itself is then remembered. CPU time (user + system) is
told beside wall time, since it depends less on what else runs. Byte code is cached, as it is after any installation.
Prints a table and writes benchmarks/results/plan_scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.plan.families import fill

from variantforge import Resolver, build_plan, load_family

RESULTS = Path(__file__).parent / "results" / "plan_scale.json"
FAMILY = """\
family: scale
base: {{model: {base}, license: apache-2.0}}
datasets: {{rows: {{path: ./rows.jsonl, format: prompt_completion}}}}
defaults: {{quantize: ["gguf:Q4_K_M"]}}
evaluate: {{heldout: {{evaluator: perplexity}}}}
gates: [{{metric: heldout.loss, vs: base, better_by: 0.0}}]
publish: {{artifacts: [merged, gguf]}}
variants:
{variants}
"""
VARIANT = "  v{n}: {{kind: domain, data: {{mix: {{rows: 1}}}}, train: {{args: {{seed: {n}}}}}}}"


def write_family(folder: Path, base: Path, count: int) -> Path:
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    variants = "\n".join(VARIANT.format(n=number) for number in range(count))
    (folder / "family.yaml").write_text(FAMILY.format(base=base, variants=variants))
    return folder / "family.yaml"


def fill_store(family: Path, store: Path) -> int:
    """An artifact (a manifest and facts) for every step of the plan, as after a finished apply; returns how many."""
    plan = build_plan(load_family(family), Resolver(cache=store / "pins.json"))
    fill(plan, store)
    return len(plan.steps)


def timed(command: list[str]) -> tuple[float, float]:
    """(wall, CPU) seconds of one process."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**kept, "NO_COLOR": "1"})
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 10):
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    from tests.tiny import tiny_model  # imports torch

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        family = write_family(folder, tiny_model(folder / "base"), arguments.variants)
        store = folder / "store"
        command = [sys.executable, "-m", "variantforge", "plan", str(family), "--store", str(store)]
        timed(command)  # byte code
        cold: list[tuple[float, float]] = []
        for _ in range(arguments.rounds):
            shutil.rmtree(store, ignore_errors=True)
            cold.append(timed(command))
        shutil.rmtree(store, ignore_errors=True)
        steps = fill_store(family, store)
        timed(command)
        warm = [timed(command) for _ in range(arguments.rounds)]
    result = {
        "variants": arguments.variants,
        "steps": steps,
        "rounds": arguments.rounds,
        "cold_plan_s": median(wall for wall, _ in cold),
        "cold_plan_cpu_s": median(cpu for _, cpu in cold),
        "warm_noop_plan_s": median(wall for wall, _ in warm),
        "warm_noop_plan_cpu_s": median(cpu for _, cpu in warm),
        "cores": os.cpu_count(),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{steps} steps of {arguments.variants} variants, medians of {arguments.rounds}")
    print(f"  cold plan        {result['cold_plan_s']:.3f} s  ({result['cold_plan_cpu_s']:.3f} s of CPU)")
    print(f"  warm no-op plan  {result['warm_noop_plan_s']:.3f} s  ({result['warm_noop_plan_cpu_s']:.3f} s of CPU)")


def median(seconds: Iterable[float]) -> float:
    return round(statistics.median(seconds), 3)


if __name__ == "__main__":
    main()
