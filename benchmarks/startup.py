"""What a command costs before and besides its work: medians of 20 fresh processes, and which modules it imports.

    python -m benchmarks.startup [--rounds 20]

The family is the quickstart's, with every artifact in the store, so that plan and apply find nothing to do. Commands
take turns, so that a busy machine is unfair to all alike; CPU time (user + system) is told beside wall time, since it
depends less on what else runs. Byte code is cached, as it is after any installation.
Prints a table and writes benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.plan_scale import fill_store

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "startup.json"
RUN = "import sys; from variantforge.cli.app import main; sys.exit(main(sys.argv[1:]))"
HEAVY = ["torch", "transformers", "datasets", "huggingface_hub", "numpy", "peft", "trl", "pyarrow", "rich"]
BUDGETS_MS = {"vf --help": 120, "no-op vf plan": 300, "no-op vf apply": 1000}


def commands(family: Path) -> dict[str, list[str]]:
    def vf(*words: str) -> list[str]:
        return [sys.executable, "-c", RUN, *words]

    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "vf --help": vf("--help"),
        "vf check": vf("check", str(family)),
        "no-op vf plan": vf("plan", str(family)),
        "no-op vf apply": vf("apply", str(family)),
    }


def environment(pyc: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(pyc), "NO_COLOR": "1"}


def timed(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """(wall, CPU) seconds of one process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command[-2:]} failed:\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def heavy_imports(command: list[str], env: dict[str, str]) -> list[str]:
    """Which of the heavy libraries a command imports, from Python's own report of every import."""
    told = subprocess.run(
        [command[0], "-X", "importtime", *command[1:]], capture_output=True, text=True, env=env
    ).stderr
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines() if "|" in line}
    assert "encodings" in names
    return sorted(names & set(HEAVY))


def measure(rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        family = folder / "family.yaml"
        family.write_text((ROOT / "specs" / "quickstart.yaml").read_text())
        steps = fill_store(family, folder / ".variantforge")
        env, todo = environment(folder / "pyc"), commands(family)
        for command in todo.values():
            timed(command, env)
        times: dict[str, list[tuple[float, float]]] = {title: [] for title in todo}
        for _ in range(rounds):
            for title, command in todo.items():
                times[title].append(timed(command, env))
        return {
            "rounds": rounds,
            "steps": steps,
            "cores": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 2),
            "python": sys.version.split()[0],
            "commands": {
                title: {
                    "wall_ms": round(1000 * statistics.median(wall for wall, _ in measured), 1),
                    "wall_ms_least": round(1000 * min(wall for wall, _ in measured), 1),
                    "cpu_ms": round(1000 * statistics.median(cpu for _, cpu in measured), 1),
                    "budget_ms": BUDGETS_MS.get(title),
                    "heavy_imports": heavy_imports(todo[title], env),
                }
                for title, measured in times.items()
            },
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    result = measure(parser.parse_args().rounds)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(f"medians of {result['rounds']}, family of {result['steps']} steps, load {result['load_average']}")
    print(f"{'':16} {'wall ms':>8} {'least':>8} {'CPU ms':>8} {'budget':>7}  heavy imports")
    for title, row in result["commands"].items():
        figures = f"{row['wall_ms']:8.0f} {row['wall_ms_least']:8.0f} {row['cpu_ms']:8.0f} {row['budget_ms'] or '':>7}"
        print(f"{title:16} {figures}  {', '.join(row['heavy_imports']) or 'none'}")


if __name__ == "__main__":
    main()
