"""Runs of generated code per second: what one sandbox costs, and how many a machine does side by side.

    python -m benchmarks.sandbox [--runs 200]

A run starts a sandbox, loads a small program, judges it, and ends every process of it. ``calls`` are compared in the
parent and take one sandbox; ``checks`` are asserts, run in a second one beside it. Beside them stand what a bare Python
costs on the same machine, and the twelve probes. Prints a table and writes benchmarks/results/sandbox.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from variantforge.sandbox import bubblewrap, grade_all, read_tests, try_probes, version

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "sandbox.json"
PROGRAM = "def add(x, y):\n    return x + y\n"
CALLS = read_tests([{"input": [number, 1], "output": number + 1} for number in range(5)], "add")
CHECKS = read_tests([f"assert add({number}, 1) == {number + 1}" for number in range(5)])


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bare(runs: int) -> None:
    for _ in range(runs):
        subprocess.run([bubblewrap.python(), "-s", "-S", "-P", "-c", "pass"], check=True, env={})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    probes = seconds(try_probes)
    cores = os.cpu_count() or 1
    rows = {"bare python": {"ms": round(1000 * seconds(lambda: bare(runs)) / runs, 1)}}
    for title, tests in (("calls", CALLS), ("checks", CHECKS)):
        for workers in sorted({1, cores}):
            took = seconds(lambda tests=tests, workers=workers: grade_all([(PROGRAM, tests)] * runs, workers=workers))
            rows[f"{title}, {workers} at a time"] = {"ms": round(1000 * took / runs, 1), "per_s": round(runs / took, 1)}
    result = {
        "runs": runs,
        "cores": cores,
        "load_average": round(os.getloadavg()[0], 2),
        "sandbox": version(),
        "probes_s": round(probes, 2),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{runs} runs, {cores} cores, load {result['load_average']}, twelve probes in {probes:.1f} s")
    for title, row in rows.items():
        print(f"{title:24} {row['ms']:7.1f} ms {row.get('per_s', ''):>8}" + (" runs/s" if "per_s" in row else ""))


if __name__ == "__main__":
    main()
