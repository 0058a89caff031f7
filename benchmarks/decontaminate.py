"""How many leaked items of HumanEval are found in rows; how many functions of the standard library are taken for one.

    python -m benchmarks.decontaminate path/to/HumanEval.jsonl.gz

Leaked, each item on its own row: as an answer with the function under another name (`renamed`); and without prompt,
docstring and comments, too (`bare`). Prints a table and writes benchmarks/results/decontaminate.json.
"""

from __future__ import annotations

import ast
import gzip
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from variantforge.stages.data import functions, python_files
from variantforge.stages.data.decontaminate import Suites, texts_of_file
from variantforge.stages.rows import make_row

RESULTS = Path(__file__).parent / "results" / "decontaminate.json"
PACKAGES = ("json", "email", "statistics", "fractions", "textwrap", "heapq", "bisect", "http", "asyncio", "unittest")
Row = dict[str, Any]


def renamed(item: dict[str, str]) -> Row:
    code = (item["prompt"] + item["canonical_solution"]).replace(item["entry_point"], "another_name")
    turns = [{"role": "user", "content": "Write it."}, {"role": "assistant", "content": f"```python\n{code}```"}]
    return make_row("leak", {"messages": turns})


def bare(item: dict[str, str]) -> Row:
    tree = ast.parse(item["prompt"] + item["canonical_solution"])
    function = next(node for node in tree.body if getattr(node, "name", "") == item["entry_point"])
    assert isinstance(function, ast.FunctionDef)
    function.name, function.body = "another_name", function.body[ast.get_docstring(function) is not None :]
    return make_row("leak", {"text": ast.unparse(function)})


def standard_library() -> Iterator[Row]:
    for package in PACKAGES:
        for path in python_files.of_package(package, lambda path: None):
            parsed = functions.parse(path)
            for function, _ in functions.functions(parsed[1]) if parsed else ():
                yield make_row("stdlib", {"text": ast.unparse(function)})


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    path = Path(sys.argv[1])
    suites = Suites({"HumanEval": texts_of_file(path, path.name)}, ngram=13, code=True)
    items = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    found = {
        leak.__name__: sum(any(hit.item.item == one["task_id"] for hit in suites.hits(leak(one))) for one in items)
        for leak in (renamed, bare)
    }
    rows, started = list(standard_library()), time.process_time()
    wrong = sum(bool(suites.hits(row)) for row in rows)
    told = {
        "items": len(items),
        **found,
        "functions": len(rows),
        "taken_for_an_item": wrong,
        "rows_per_cpu_s": round(len(rows) / (time.process_time() - started)),
    }
    for name, value in told.items():
        print(f"{name:18}  {value:7,}")
    RESULTS.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
