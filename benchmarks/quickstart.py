"""`make quickstart` as a newcomer types it: a fresh clone, an empty HOME, nothing installed.

    python -m benchmarks.quickstart [--keep FOLDER]

Prints how long installing, the first and the second apply took and the largest memory all processes held together
(proportional set size, so that shared pages count once), and writes benchmarks/results/quickstart.json. Packages come
from the package cache when it is warm (PIP_CACHE_DIR is kept; all else of HOME is empty). Byte code is cached, as
python does it by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "quickstart.json"
APART_S = 3.0  # between two looks at memory: each holds up the process that is looked at


def environment(home: Path) -> dict[str, str]:
    cache = subprocess.run(["python3", "-m", "pip", "cache", "dir"], capture_output=True, text=True).stdout.strip()
    left_out = ("HF_", "XDG_", "VARIANTFORGE_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return {**kept, "HOME": str(home), "PIP_CACHE_DIR": cache, "NO_COLOR": "1"}


def held_bytes(session: int) -> int:
    """Proportional set size of every process of a session."""
    total = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getsid(int(folder.name)) == session:
                line = next(
                    line for line in (folder / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:")
                )
                total += int(line.split()[1]) * 1024
        except (OSError, StopIteration):
            continue
    return total


def run(command: list[str], folder: Path, env: dict[str, str]) -> dict[str, Any]:
    """Runs a command to its end; seconds, exit code and peak memory."""
    log = folder.parent / "output.log"
    started, peak = time.monotonic(), 0
    with open(log, "ab") as output:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True)
        while process.poll() is None:
            peak = max(peak, held_bytes(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(APART_S)
    result = {"seconds": round(time.monotonic() - started, 1), "exit_code": process.returncode}
    print(
        f"{' '.join(command):32} {result['seconds']:7.1f} s  peak {peak / 1e9:.2f} GB  exit {process.returncode}",
        flush=True,
    )
    if process.returncode != 0:
        print("\n".join(log.read_text(errors="replace").splitlines()[-40:]))
    return {**result, "peak_gb": round(peak / 1e9, 2)}


def figures(folder: Path) -> dict[str, Any]:
    """Held-out loss and its gain over the base of everything that was judged, from the artifacts."""
    found = {}
    for manifest in (folder / "specs" / ".variantforge" / "gate").glob("*/manifest.json"):
        verdicts = json.loads((manifest.parent / "facts.json").read_text())["verdicts"]
        found[json.loads(manifest.read_text())["made"]["label"]] = [verdict["why"] for verdict in verdicts]
    return dict(sorted(found.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="leave clone, environment and published folder here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = arguments.keep or Path(name)
        (place / "home").mkdir(parents=True)
        folder, env = place / "variantforge", environment(place / "home")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        result: dict[str, Any] = {
            "install": run(["make", ".venv/.quickstart"], folder, env),
            "first": run(["make", "quickstart"], folder, env),
            "second": run(["make", "quickstart"], folder, env),
        }
        result |= {"cores": os.cpu_count(), "load_average": os.getloadavg()[0], "judged": figures(folder)}
    result["total_s"] = round(result["install"]["seconds"] + result["first"]["seconds"], 1)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(f"fresh clone to published family: {result['total_s']} s")


if __name__ == "__main__":
    main()
