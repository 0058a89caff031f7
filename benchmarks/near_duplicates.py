"""How fast near-duplicates are found, and how many of those that were planted: against likeness computed in full.

    python -m benchmarks.near_duplicates [--rows 100000] [--words 200]

Rows are made of a vocabulary with the word frequencies of a text (Zipf), so that unlike rows share common words. A
tenth of them are copies of other rows with some words replaced, inserted or cut off: for each, the likeness to its
original is worked out in full, and the copy should be found when it is at least the threshold. Recall counts how many
of those were; precision, how many of the rows dropped are truly that like the row that they were dropped for. Prints a
table and writes benchmarks/results/near_duplicates.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import time
from pathlib import Path
from typing import Any

from variantforge.stages.data.near_duplicates import bands_for, find_twins, likeness, parts_of, signatures
from variantforge.stages.rows import make_row

RESULTS = Path(__file__).parent / "results" / "near_duplicates.json"
THRESHOLDS = (0.7, 0.85, 0.95)
COPIES = 10  # one row in so many is an edited copy
Row = dict[str, Any]


def vocabulary(size: int = 30_000) -> tuple[list[str], list[float]]:
    draw = random.Random(0)
    words = ["".join(draw.choice("abcdefghiklmnoprstuvwy") for _ in range(draw.randint(2, 9))) for _ in range(size)]
    cumulated, total = [], 0.0
    for rank in range(1, size + 1):
        total += 1 / rank
        cumulated.append(total)
    return words, cumulated


def planted(count: int, length: int) -> tuple[list[Row], dict[int, int]]:
    """Rows, and for each edited copy the position of its original."""
    draw, (words, frequencies) = random.Random(1), vocabulary()

    def sample(number: int) -> list[str]:
        return draw.choices(words, cum_weights=frequencies, k=number)

    texts = [sample(draw.randint(length // 4, 2 * length - length // 4)) for _ in range(count - count // COPIES)]
    origins = {}
    for position in range(len(texts), count):
        origins[position] = draw.randrange(count - count // COPIES)
        copy = list(texts[origins[position]])
        for _ in range(draw.randint(0, max(1, len(copy) // 25))):
            at = draw.randrange(len(copy))
            copy[at : at + draw.randint(0, 1)] = sample(1)
        texts.append(copy[: len(copy) - draw.randint(0, len(copy) // 20)])
    return [make_row("rows", {"text": " ".join(text)}) for text in texts], origins


def measure(rows: list[Row], origins: dict[int, int], threshold: float) -> dict[str, Any]:
    started = time.process_time()
    bands = signatures(rows, len(rows), threshold)
    signed = time.process_time()
    twins = {twin.position: twin for twin in find_twins(bands, rows.__getitem__, threshold)}
    ended = time.process_time()
    parts = {position: parts_of(rows[position]) for pair in origins.items() for position in pair}
    wanted = [copy for copy, origin in origins.items() if likeness(parts[copy], parts[origin]) >= threshold]
    right = sum(
        likeness(parts_of(rows[twin.position]), parts_of(rows[twin.of])) >= threshold for twin in twins.values()
    )
    count, rows_in_band = bands_for(threshold)
    return {
        "threshold": threshold,
        "bands": count,
        "rows_in_a_band": rows_in_band,
        "planted": len(wanted),
        "dropped": len(twins),
        "recall": round(sum(copy in twins for copy in wanted) / len(wanted), 5),
        "precision": right / len(twins),
        "rows_per_cpu_s": round(len(rows) / (ended - started)),
        "signing_s": round(signed - started, 2),
        "comparing_s": round(ended - signed, 2),
        "bytes_a_row": bands.itemsize * count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=200, help="words of a row on average")
    arguments = parser.parse_args()
    rows, origins = planted(arguments.rows, arguments.words)
    found = [measure(rows, origins, threshold) for threshold in THRESHOLDS]
    print(f"{arguments.rows:,} rows of {arguments.words} words on average, one process")
    print("threshold  planted  dropped   recall  precision  rows/CPU s  bytes a row")
    for one in found:
        print(
            f"{one['threshold']:9}  {one['planted']:7,}  {one['dropped']:7,}  {one['recall']:.5f}  "
            f"{one['precision']:9.5f}  {one['rows_per_cpu_s']:10,}  {one['bytes_a_row']:11}"
        )
    peak_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    told = {"rows": arguments.rows, "words": arguments.words, "peak_mb": peak_mb, **machine, "measured": found}
    RESULTS.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
