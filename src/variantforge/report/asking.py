"""Asks two subjects the same questions, now: in the runtime that their users will run, one after the other."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from variantforge.errors import Interrupted
from variantforge.report.comparison import Pair, Subject, weights_of
from variantforge.report.shelf import Shelf
from variantforge.run.stopping import stop_on_signals
from variantforge.stages.evaluate.prompts import Item, of_text, read_items
from variantforge.step import StepContext

Tell = Callable[[dict[str, Any]], None]
TITLE = "asked now"


def questions(texts: Sequence[str], file: Path | None) -> list[Item]:
    """Prompts as they were typed, then those of a file. Raises DataError with the place of a line that is none."""
    return [
        *(of_text(f"prompt {number}", text) for number, text in enumerate(texts, 1)),
        *(read_items(file, file.name) if file else []),
    ]


def asked(
    shelf: Shelf, first: Subject, second: Subject, items: Sequence[Item], *, max_new_tokens: int, tell: Tell
) -> list[Pair]:
    """What both answer, greedily. Raises EvaluateError when one cannot be asked; Interrupted when asked to stop."""
    ours, theirs = (_answers(shelf, one, items, max_new_tokens, tell) for one in (first, second))
    return [
        Pair(TITLE, item.id, item.text, here, there, here != there)
        for item, here, there in zip(items, ours, theirs, strict=True)
    ]


def _answers(shelf: Shelf, subject: Subject, items: Sequence[Item], max_new_tokens: int, tell: Tell) -> list[str]:
    from variantforge.stages.evaluate.answers import Prompt, Sampling, answers

    model, stop = weights_of(shelf, subject), threading.Event()
    prompts = [Prompt(item.id, item.messages) for item in items]
    with tempfile.TemporaryDirectory(prefix="variantforge-") as scratch, stop_on_signals(stop):
        context = StepContext(
            shelf.plan.steps[model.key], {"model": model}, Path(scratch), Path(scratch), str(subject), tell, stop.is_set
        )
        found = answers(context, prompts, Sampling(max_new_tokens=max_new_tokens))
    if stop.is_set():
        raise Interrupted("stopped")
    return [one.text for (one,) in found]
