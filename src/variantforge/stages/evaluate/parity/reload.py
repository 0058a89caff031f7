"""A fresh process that imports transformers alone loads the folder as a user would, and says what we measured.

It is started first and asked last, so that it loads while other checks run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from variantforge.errors import EvaluateError, ReloadDiffers
from variantforge.redact import without_secrets

if TYPE_CHECKING:
    import torch

# KL in nats from our own reading in float32. Arithmetic in bf16, which a user's default is, costs up to 5e-3.
AT_MOST = 0.02
# LLM.int8() rounds what flows into a layer to eight bits, which makes differences of a last bit larger; and it computes
# those columns in 16 bits in which *any* token of an input stands out, so that what follows a prompt moves what is said
# after it: ours is read with the answer behind it. 0.006 and 0.021 on two real models.
AT_MOST_INT8 = 0.1

_SCRIPT = """
import json, os, sys
answers, sys.stdout = os.fdopen(os.dup(1), "wb"), sys.stderr
os.environ["HF_HUB_OFFLINE"] = "1"
folder, prompts = json.load(sys.stdin)
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
import numpy, torch
with torch.no_grad():
    rows = [model(torch.tensor([ids], device=model.device)).logits[0, -1].float().cpu().numpy() for ids in prompts]
numpy.save(answers, numpy.array(rows))
"""


class Reloading:
    """A process that is loading ``folder``, to say what comes after each of ``prompts`` (token ids)."""

    def __init__(self, folder: Path, child: subprocess.Popen[bytes], log: IO[bytes], answers: IO[bytes]) -> None:
        self._folder, self._child, self._log, self._answers = folder, child, log, answers

    def compare(self, ids: Sequence[str], expected: Sequence[torch.Tensor]) -> list[dict[str, Any]]:
        """``expected``: log-probabilities after each prompt, as we read the folder. [vocabulary] each

        Rows with ``prompts``, ``reloaded`` (both have one favourite) and ``reload_kl``. Raises ReloadDiffers, or
        EvaluateError when the process was killed.
        """
        import numpy as np
        import torch

        code = self._child.wait()
        if code < 0:
            raise EvaluateError(
                f"the fresh process that loads {self._folder.name}/ was killed by signal {-code}",
                why="Two processes hold the model while parity is checked; mostly a lack of memory kills one.",
                next="run the same command again with more memory free, or write evaluate: {parity: off}",
            )
        if code:
            raise self._differs("it cannot be loaded", self._last_line() or f"The process ended with code {code}.")
        self._answers.seek(0)
        logits = torch.from_numpy(np.load(self._answers))
        if not ids:
            return []
        rows = [_row(id, *pair) for id, *pair in zip(ids, expected, logits.log_softmax(-1), strict=True)]
        kl = sum(row["reload_kl"] for row in rows) / len(rows)
        at_most = limit_of(self._folder)
        if not kl <= at_most:
            raise self._differs(
                "it says something else", f"Mean KL over {len(rows)} prompts: {kl:.3g}, at most {at_most:g}."
            )
        return rows

    def _differs(self, what: str, why: str) -> ReloadDiffers:
        return ReloadDiffers(
            f"loaded by transformers alone, as a user loads {self._folder.name}/, {what}",
            why=why,
            next="load the folder with AutoModelForCausalLM.from_pretrained, and look at what it warns of",
        )

    def _last_line(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip().rpartition("\n")[2][:500]


def limit_of(folder: Path) -> float:
    """How far a folder may be off, in nats of KL: more where its arithmetic hangs on all tokens of an input."""
    settings = json.loads((folder / "config.json").read_text()).get("quantization_config") or {}
    return AT_MOST_INT8 if settings.get("load_in_8bit") else AT_MOST


def _row(id: str, ours: torch.Tensor, theirs: torch.Tensor) -> dict[str, Any]:
    ours = ours[: len(theirs)]
    kl = max(0.0, float((ours.exp() * (ours - theirs)).sum()))
    return {
        "id": f"reload:{id}",
        "prompts": 1,
        "reloaded": int(ours.argmax() == theirs.argmax()),
        "reload_kl": round(kl, 6),
    }


@contextmanager
def reloading(
    folder: Path, prompts: Sequence[Sequence[int]], python: str | Path = sys.executable
) -> Iterator[Reloading]:
    """Starts the process; it is gone when the block ends, however it ends. ``python``: one that has transformers, and
    what this form of weights needs beside it."""
    with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as request:
        request.write(json.dumps([str(folder), [list(ids) for ids in prompts]]).encode())
        request.seek(0)
        child = subprocess.Popen(
            [python, "-I", "-c", _SCRIPT],  # -I: nothing of the user's folder, nothing of ours
            stdin=request,
            stdout=answers,
            stderr=log,
            env={**without_secrets(os.environ), "OMP_WAIT_POLICY": "PASSIVE"},
        )
        try:
            yield Reloading(folder, child, log, answers)
        finally:
            child.kill()
            child.wait()
