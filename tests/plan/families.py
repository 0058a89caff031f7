"""A family whose plan looks at every kind of thing that planning reads, and a store that holds all of its steps."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from variantforge import Resolver, build_plan, load_family
from variantforge.hashing import text_digest
from variantforge.plan.plan import Plan
from variantforge.plan.remembered import RememberedPlan
from variantforge.step import Step
from variantforge.store.journal import Journal

FAMILY = """\
family: seen
base: {model: ./base}
datasets:
  rows: {path: ./rows.jsonl, format: prompt_completion}
  folder: {path: ./rows, format: prompt_completion}
  code: {source: python_source, folder: ./code, packages: [json]}
variants:
  one: {kind: domain, data: {mix: {rows: 1, folder: 1, code: 1}}, train: {args: {seed: 1}}, quantize: [nf4]}
  two: {kind: domain, data: {mix: {rows: 1}}, train: {args: {seed: 2}}}
evaluate: {heldout: {evaluator: perplexity}}
gates: [{metric: heldout.loss, vs: base, better_by: 0.0}]
publish: {path: ./published}
"""


def write_family(folder: Path) -> Path:
    (folder / "family.yaml").write_text(FAMILY)
    for name in ("base", "rows", "code/inner"):
        (folder / name).mkdir(parents=True)
    row = '{"prompt": "a", "completion": "b"}\n'
    for name in ("rows.jsonl", "rows/first.jsonl", "rows/second.jsonl"):
        (folder / name).write_text(row)
    for name in ("code/module.py", "code/inner/module.py"):
        (folder / name).write_text("def f():\n    '''Give one fixed number.'''\n    return 1\n")
    (folder / "code" / "notes.txt").write_text("not code\n")
    write_base(folder / "base")
    return folder / "family.yaml"


def write_base(folder: Path) -> None:
    """A model folder as far as planning looks into one: a configuration, a tokenizer, one tensor of two numbers."""
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}\n')
    (folder / "tokenizer.json").write_text("{}\n")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


def lay_out(file: Path, store: Path) -> tuple[Plan, bool]:
    """The plan as a command gets it, and whether it was remembered."""
    memory = RememberedPlan(store / "plans", file)
    if found := memory.read():
        return found[0], True
    resolver = Resolver(store / "pins.json")
    plan = build_plan(load_family(file), resolver)
    memory.keep(plan, resolver.seen)
    return plan, False


def fill(plan: Plan, store: Path) -> None:
    """As after an apply that did everything."""
    for key, step in plan.steps.items():
        folder = store / step.stage / key
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        (folder / "facts.json").write_text(json.dumps(_published(step) if step.stage == "publish" else {}))
    standing = [(place, plan.steps[key], "") for place, key in plan.places.items()]
    Journal(store / "journal.sqlite").use(plan.family.family, standing)


def _published(step: Step) -> dict[str, Any]:
    root = Path(step.hints["folder"])
    names = {"README.md": "card", "variantforge.json": "{}"}
    if step.params["form"] == "family":
        names = {"README.md": "page", "family.json": "{}"}
    else:
        root = root / str(step.params["repo"]).rpartition("/")[2]
    root.mkdir(parents=True, exist_ok=True)
    for name, text in names.items():
        (root / name).write_text(text)
    return {"files": {name: {"sha256": text_digest(text), "size_bytes": len(text)} for name, text in names.items()}}
