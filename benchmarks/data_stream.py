"""How fast a dataset becomes canonical rows, and how much memory that takes: no reader holds a file.

    python -m benchmarks.data_stream [--rows 1000000] [--chat 500]

Makes chats of about ``--chat`` bytes each, as JSONL of a quarter of ``--rows`` (and of four times the bytes) and of
``--rows``, and as .jsonl.gz and Parquet of a quarter, and runs the real rows step over each (exact deduplication,
held-out split), every run in a process of its own. Peak memory is told over that of a run with ten rows, beside the
size of the file: it grows with the rows, whose ids are remembered, and not with their bytes. CPU time is told beside
wall time, since it depends less on what else runs. Linux only. Prints a table and writes
benchmarks/results/data_stream.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "data_stream.json"
_WORDS = (
    "the",
    "model",
    "learns",
    "to",
    "answer",
    "what",
    "people",
    "ask",
    "when",
    "data",
    "is",
    "clean",
    "and",
    "says",
)

TOLD = (
    "{file:10} {rows:>10,} rows {size_mb:>8} MB {wall_s:>7} s, {cpu_s:>7} s of CPU: {rows_per_cpu_s:>7,} rows/s   "
    "peak {peak_rss_mb:>6} MB, {over_idle_mb:>6} MB over ten rows"
)


def chats(count: int, size_bytes: int) -> Iterator[dict[str, Any]]:
    """Rows that differ, of about that many bytes as JSON."""
    numbers = random.Random(0)
    words = max(4, (size_bytes - 90) // 10)  # in a word and its space: 5 letters, twice
    for number in range(count):
        asked, answer = (" ".join(numbers.choices(_WORDS, k=words)) for _ in range(2))
        turns = [{"role": "user", "content": f"{number} {asked}"}, {"role": "assistant", "content": answer}]
        yield {"messages": turns}


def write(path: Path, count: int, size_bytes: int) -> None:
    if path.suffix == ".parquet":
        _write_parquet(path, count, size_bytes)
        return
    with gzip.open(path, "wb", 1) if path.suffix == ".gz" else open(path, "wb") as file:
        for row in chats(count, size_bytes):
            file.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")


def _write_parquet(path: Path, count: int, size_bytes: int) -> None:
    """In row groups of 50,000 rows, as the Hub's are of about 100 MB."""
    from itertools import islice

    import pyarrow
    from pyarrow.parquet import ParquetWriter

    writer = None
    left = chats(count, size_bytes)
    while rows := list(islice(left, 50_000)):
        table = pyarrow.Table.from_pylist(rows)
        writer = writer or ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def run_here(path: Path, out: Path) -> dict[str, Any]:
    """The rows step of one file, in this process."""
    from tests.bench import do_step

    from variantforge.plan.pin import Resolver
    from variantforge.stages.data.stage import STAGE
    from variantforge.step import Step

    pin = Resolver(folder=path.parent).pin_files([path])
    params = {"name": "d", "dataset": {"path": f"./{path.name}"}, "on_bad_row": "error", "fraction": 0.05}
    step = Step("data", STAGE.version, "rows", params, pins={"data": pin}, hints={"files": {"data": [path.name]}})
    start, cpu = time.perf_counter(), time.process_time()
    facts = do_step(STAGE, step, out).facts
    return {
        "rows": facts["rows"],
        "wall_s": round(time.perf_counter() - start, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_rss_mb": peak_rss_mb(),
    }


def peak_rss_mb() -> float:
    """Of this process alone: ``getrusage`` starts with what the parent held when it forked."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1)


def measured(name: str, count: int, size_bytes: int) -> dict[str, Any]:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="data-stream-") as folder:
        path = Path(folder, f"rows{name}")
        write(path, count, size_bytes)
        command = [sys.executable, __file__, "--one", str(path), "--out", str(Path(folder, "out"))]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        return {"file": name, "size_mb": round(path.stat().st_size / 1e6, 1), **json.loads(told)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--chat", type=int, default=500, help="bytes of a row")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(run_here(asked.one, asked.out)))
        return
    few = asked.rows // 4
    idle = {name: measured(name, 10, asked.chat)["peak_rss_mb"] for name in (".jsonl", ".parquet")}
    runs = []
    files = [
        (".jsonl", few, 1),
        (".jsonl", few, 4),
        (".jsonl", asked.rows, 1),
        (".jsonl.gz", few, 1),
        (".parquet", few, 1),
    ]
    for name, count, times in files:
        run = measured(name, count, asked.chat * times)
        run["over_idle_mb"] = round(run["peak_rss_mb"] - idle.get(name, idle[".jsonl"]), 1)
        run["rows_per_cpu_s"] = round(run["rows"] / run["cpu_s"])
        run["bytes_of_memory_per_row"] = round(run["over_idle_mb"] * 1024 * 1024 / run["rows"])
        runs.append(run)
        print(TOLD.format(**run), flush=True)
    RESULTS.write_text(json.dumps({"chat_bytes": asked.chat, "idle_rss_mb": idle, "runs": runs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
