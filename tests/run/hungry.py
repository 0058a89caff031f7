"""Steps that take more memory than there is: what tests start inside of a control group. Each line that is printed is a
note of the step, or how it ended, as JSON.

``main rows ROOT MICRO_BATCH MB_A_ROW ...``: jobs, each of which holds so much for each row of its micro-batch.
``main trains ROOT MODEL PROCESSES``: a real training, undisturbed and then starving (``starving.py``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from variantforge.errors import VariantforgeError
from variantforge.run.executor import Job
from variantforge.run.isolated import Isolated
from variantforge.stages.train.smaller import MICRO_BATCH, halved
from variantforge.step import Step

MB = 1 << 20
ACCUMULATION = "gradient_accumulation_steps"
MARK = "hungry"  # a file in the scratch folder of the training that is to be


def take(mb: int) -> list[bytes]:
    """Memory that is really written to."""
    return [b"\1" * MB for _ in range(mb)]


class HungryJob(Job):
    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        args = self.step.params["args"]
        rows = {**args, **halved(args, self.scratch)}[MICRO_BATCH]
        emit({"kind": "note", "text": f"trying {rows}"})
        (self.out / f"begun with {rows}").touch()
        take(rows * self.step.params["mb_a_row"])


def do(job: Job, preload: tuple[str, ...] = ()) -> None:
    def emit(event: dict[str, Any]) -> None:
        if event["kind"] == "note":
            tell(event["text"])

    try:
        for waits in Isolated(preload).run(job, emit, lambda: False):
            wait(waits, 0.2)
        tell("done")
    except VariantforgeError as error:
        tell([type(error).__name__, error.what, error.why, error.next])


def tell(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def place(root: Path, name: str) -> tuple[Path, Path]:
    """Folders for what a step makes, and for what it keeps."""
    for folder in (root / name, root / f"{name}-scratch"):
        folder.mkdir(parents=True)
    return root / name, root / f"{name}-scratch"


def rows(root: str, *numbers: str) -> None:
    for size, mb_a_row in zip(*[map(int, numbers)] * 2, strict=True):
        params = {"adapter": {}, "args": {MICRO_BATCH: size, ACCUMULATION: 1}, "mb_a_row": mb_a_row}
        out, scratch = place(Path(root), str(size))
        do(HungryJob(Step("train", 1, "sft", params), {}, out, scratch, "train code"))


def trains(root: str, model: str, processes: str) -> None:
    from tests.stages.train.lab import Lab

    lab = Lab(Path(root), Path(model))
    plain = lab.step(**{MICRO_BATCH: 4, ACCUMULATION: 1, "bf16": False})
    step = replace(plain, hints={"processes": int(processes)}) if int(processes) > 1 else plain
    for name in ("undisturbed", MARK):
        out, scratch = place(lab.root, name)
        if name == MARK:
            (scratch / MARK).touch()
        job = Job(step, {"base": lab.base, "data": lab.data}, out, scratch, "train code")
        do(job, ("variantforge.run.heavy", "tests.run.starving"))


def main() -> None:
    {"rows": rows, "trains": trains}[sys.argv[1]](*sys.argv[2:])
