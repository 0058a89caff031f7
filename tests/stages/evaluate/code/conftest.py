"""Real sandboxes, real models, and problems small enough for both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.sandbox.conftest import sandbox  # noqa: F401
from tests.stages.evaluate.subjects import artifact
from tests.tiny import smollm2_gguf
from variantforge.hashing import file_digest
from variantforge.stages.evaluate.stage import STAGE
from variantforge.step import Artifact, Pin, Step

ADD = {
    "task_id": "add",
    "prompt": "def add(a, b):\n    return",
    "tests": [{"input": [1, 2], "output": 3}, {"input": [5, 5], "output": 10}],
    "entry_point": "add",
}
NEVER = {
    "task_id": "never",
    "prompt": 'def word():\n    """Return the word that nobody knows."""\n',
    "test": "def check(candidate):\n    assert candidate() == 'opensesame'\n",
    "entry_point": "word",
}


@pytest.fixture(scope="session")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """SmolLM2-135M-Instruct, as GGUF."""
    made = artifact(tmp_path_factory.mktemp("smol"), "smol")
    (made.path / "model.gguf").symlink_to(smollm2_gguf())
    return made


def problems(folder: Path, *rows: Any, name: str = "problems.jsonl") -> dict[str, Pin]:
    """A pinned file of problems; a text is a line as it stands."""
    file = folder / name
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return {"file": Pin(file_digest(file), str(file))}


def solve(root: Path, model: Artifact, pins: dict[str, Pin], *, run: str = "run", **params: Any) -> Artifact:
    context = {name: params.pop(name) for name in ("emit", "stopping") if name in params}
    step = Step("evaluate", 1, "code", params, {"model": model.key}, pins)
    return do_step(STAGE, step, root / run, {"model": model}, **context)
