"""Artifacts of base and data, and train steps over them: what tests of training and merging share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import do_step
from variantforge.stages.rows import HELDOUT, TRAIN, make_row, write_rows
from variantforge.stages.train.stage import STAGE
from variantforge.step import FACTS, Artifact, Step

IM_END = 2  # SmolLM2's <|im_end|>: its stop token, its EOS and its padding token
# A run of 12 steps: 2 epochs of 5 full windows of 4 rows and one of 3; a checkpoint every second step.
SHORT = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": 2,
    "learning_rate": 1e-3,
}


def chat(question: str, answer: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return make_row("sums", {"messages": turns})


def sums(count: int = 23) -> list[dict[str, Any]]:
    """Chats of different lengths."""
    return [chat(f"What is {n} plus {n}?", f"It is {2 * n}. " * (1 + n % 4)) for n in range(count)]


def base_artifact(model: Path, root: Path, **facts: Any) -> Artifact:
    folder = root / "base"
    folder.mkdir(parents=True)
    (folder / "model").symlink_to(model)
    told = {"name": "tiny/base", "stop_token_ids": [IM_END], "tied": True, "license": "apache-2.0", **facts}
    (folder / FACTS).write_text(json.dumps(told))
    return Artifact("base", folder)


def data_artifact(root: Path, rows: Sequence[Mapping[str, Any]], heldout: Sequence[Mapping[str, Any]] = ()) -> Artifact:
    folder = root / "data"
    write_rows(folder / TRAIN, rows)
    write_rows(folder / HELDOUT, heldout)
    (folder / FACTS).write_text("{}")
    return Artifact("data", folder)


class Lab:
    """One base and one set of rows; ``train`` does a train step over them, again and again if need be."""

    def __init__(self, root: Path, model: Path, rows: Sequence[Mapping[str, Any]] | None = None, **facts: Any) -> None:
        self.root = root
        self.base = base_artifact(model, root, **facts)
        self.data = data_artifact(root, sums() if rows is None else rows, sums(6))
        self.events: list[dict[str, Any]] = []

    def step(self, adapter: Mapping[str, Any] | None = None, method: str = "sft", **args: Any) -> Step:
        params = {"adapter": dict(adapter or {}), "args": {**SHORT, **args}, "recipe": 1}
        return Step("train", 1, method, params, inputs={"base": self.base.key, "data": self.data.key})

    def train(self, step: Step, place: str = "run", **context: Any) -> Artifact:
        """Does the step under ``root/place``; what an earlier try left in ``out`` is swept, as the store would."""
        root = self.root / place
        shutil.rmtree(root / step.stage, ignore_errors=True)
        context.setdefault("emit", self.events.append)
        return do_step(STAGE, step, root, {"base": self.base, "data": self.data}, **context)

    @property
    def notes(self) -> list[str]:
        """Without the line that every adapter is told in."""
        told = [event["text"] for event in self.events if event["kind"] == "note"]
        return [text for text in told if not text.startswith("the adapter stands on")]


def adapter_bytes(trained: Artifact) -> bytes:
    return (trained.path / "adapter" / "adapter_model.safetensors").read_bytes()


def losses(trained: Artifact) -> list[float]:
    events = [json.loads(line) for line in (trained.path / "events.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]
