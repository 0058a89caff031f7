"""Asking the tiny subjects, with a context of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from variantforge.stages.evaluate.answers import Answer, Prompt, Sampling, answers
from variantforge.step import Artifact, Step, StepContext

Asking = Callable[..., list[list[Answer]]]


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    """``asking(model, prompts, run="name", **sampling)``; one ``run`` is one step, whose scratch outlives a try."""

    def ask(
        model: Artifact, prompts: Sequence[Prompt], *, run: str = "run", stopping: Any = lambda: False, **sampling: Any
    ) -> list[list[Answer]]:
        scratch = tmp_path / run
        scratch.mkdir(exist_ok=True)
        step = Step("evaluate", 1, "asks")
        context = StepContext(step, {"model": model}, tmp_path, scratch, stopping=stopping)
        return answers(context, prompts, Sampling(**sampling))

    return ask


def chats(*texts: str) -> list[Prompt]:
    return [Prompt(f"q{at}", [{"role": "user", "content": text}]) for at, text in enumerate(texts)]
