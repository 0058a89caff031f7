"""Laying out and doing the data steps of a small family: the real planner's desk, the real stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench import do_step
from variantforge.plan.build import Draft
from variantforge.plan.pin import Resolver
from variantforge.spec.family import FamilySpec
from variantforge.stages.data.stage import STAGE
from variantforge.stages.rows import HELDOUT, TRAIN, read_rows
from variantforge.stages.stage import Place
from variantforge.step import Artifact, Step

Spec = Mapping[str, Any]


def chat(question: str, answer: str = "yes") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def chats(count: int, mark: str = "q") -> list[dict[str, Any]]:
    return [chat(f"{mark}{number}", f"a{number}") for number in range(count)]


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Workbench:
    """A family's data steps. ``problems``: (key, text) pairs that planning told; ``notes``: what doing told."""

    def __init__(self, folder: Path, datasets: Spec, *, data: Spec | None = None, **family: Any) -> None:
        data = data or {"mix": dict.fromkeys(datasets, 1)}
        whole = {
            "family": "f",
            "base": {"model": "./base"},
            "datasets": datasets,
            "variants": {"v": {"kind": "code", "data": data}},
            "evaluate": {"heldout": {"evaluator": "perplexity", "fraction": 0.2}},
            **family,
        }
        self.folder = folder
        self.problems: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.family = FamilySpec.model_validate(whole)
        self.desk = Draft(self.family, folder, Resolver(), lambda key, text: self.problems.append((key, text)))
        self._made: dict[str, Artifact] = {}

    def plan(self) -> Workbench:
        for name, variant in self.family.variants.items():
            self.desk.at_key = f"variants.{name}"
            STAGE.plan(self.desk, name, variant)
        STAGE.plan(self.desk, None, None)
        return self

    def step(self, name: str, variant: str | None = None) -> Step:
        step = self.desk.step(Place("data", variant, name))
        assert step is not None, self.problems
        return step

    def rows(self, dataset: str = "d") -> Artifact:
        """The artifact of a dataset's rows."""
        return self._make(self.step(dataset))

    def mix(self, variant: str = "v", **others: Artifact) -> Artifact:
        step = self.step("mix", variant)
        inputs = {role: others.get(role) or self._make(self.desk.steps[key]) for role, key in step.inputs.items()}
        return self._make(step, inputs)

    def _make(self, step: Step, inputs: Mapping[str, Artifact] | None = None) -> Artifact:
        if step.key not in self._made:
            root = self.folder / "store" / str(len(list((self.folder / "store").glob("*"))))
            self._made[step.key] = do_step(STAGE, step, root, inputs, emit=self._hear)
        return self._made[step.key]

    def _hear(self, event: dict[str, Any]) -> None:
        if event["kind"] == "note":
            self.notes.append(event["text"])


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    return [row for name in (TRAIN, HELDOUT) for row in read_rows(artifact.path / name)]


def ids(artifact: Artifact, name: str) -> list[str]:
    return [row["id"] for row in read_rows(artifact.path / name)]


def make_dataset(folder: Path, path: Path | str, **section: Any) -> Artifact:
    """The rows of one dataset at ``path``, without a mix."""
    relative = f"./{Path(path).relative_to(folder).as_posix()}" if isinstance(path, Path) else path
    bench = Workbench(folder, {"d": {"path": relative, **section}}).plan()
    return bench.rows()
