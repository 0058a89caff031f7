"""A tiny family that trains and merges, and what is planted in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.family import write_rows
from variantforge import Resolver, Store, build_plan, load_family, run_plan
from variantforge.errors import VariantforgeError
from variantforge.plan.build import Plan
from variantforge.run.inline import Inline
from variantforge.run.results import Silent

ARGS = {
    "max_steps": 6,
    "learning_rate": 2e-2,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "max_length": 128,
    "bf16": False,
}


@dataclass
class Notes(Silent):
    """What people were told, step by step."""

    told: list[str] = field(default_factory=list)

    def event(self, key: str, event: Mapping[str, Any]) -> None:
        if event["kind"] == "note":
            self.told.append(event["text"])


@dataclass
class Family:
    """One family in a folder of its own. ``change`` its spec, its base and its rows before it is ``run``."""

    folder: Path
    base: Path
    spec: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        write_rows(self.folder / "rows.jsonl", 64)
        self.spec = {
            "family": "incident",
            "base": {"model": str(self.base), "license": "apache-2.0"},
            "datasets": {"rows": {"path": "./rows.jsonl", "license": "mit"}},
            "variants": {"one": {"kind": "instruct", "data": {"mix": {"rows": 1.0}}, "train": {"args": dict(ARGS)}}},
            "evaluate": {"parity": "off"},
            "publish": {"path": "./published"},
        }

    @property
    def train(self) -> dict[str, Any]:
        """The section ``train`` of its only variant, to be changed."""
        section: dict[str, Any] = self.spec["variants"]["one"]["train"]
        return section

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    def plan(self) -> Plan:
        file = self.folder / "family.yaml"
        file.write_text(yaml.safe_dump(self.spec))
        return build_plan(load_family(file), Resolver(cache=self.folder / "pins.json"))

    def run(self) -> Ran:
        """Everything, in this process."""
        plan, notes = self.plan(), Notes()
        report = run_plan(plan, self.store, reporter=notes, heavy=Inline)
        failed = {plan.label(key).split()[0]: report.results[key].error for key in report.keys("failed")}
        done, there = (
            {plan.label(key).split()[0] for key in report.keys(*how)} for how in (["done"], ["done", "reused"])
        )
        return Ran(failed, done, there, notes.told)

    def artifact(self, stage: str) -> Path:
        """The folder of the only artifact of a stage."""
        (folder,) = (self.folder / "store" / stage).iterdir()
        return folder

    def template(self, change: Callable[[str], str]) -> None:
        """Changes the chat template of the base."""
        path = self.base / "chat_template.jinja"
        before = path.read_text()
        path.write_text(change(before))
        assert path.read_text() != before


@dataclass(frozen=True)
class Ran:
    """``failed``: stage -> its error. ``done``: stages that did a step, ``there``: or had it. ``notes``: what was
    told."""

    failed: dict[str, VariantforgeError | None]
    done: set[str]
    there: set[str]
    notes: list[str]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: re.sub(re.escape(old), lambda match: new, text)
