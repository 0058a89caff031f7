"""Steps that take more memory than there is: what tests start inside of a control group. Each line that is printed is a
note of the step, or how it ended, as JSON.

``main rows ROOT MICRO_BATCH MB_A_ROW ...``: jobs, each of which holds so much for each row of its micro-batch.
``main workers ROOT MICRO_BATCH MB_A_ROW``: a train step by two workers, of which the second holds so much for each row.
``main trains ROOT MODEL``: a real training, undisturbed and then starving (``starving.py``).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from variantforge.errors import VariantforgeError
from variantforge.run.executor import Job
from variantforge.run.isolated import Isolated
from variantforge.stages.train.processes import launch, shared
from variantforge.stages.train.smaller import ACCUMULATION, MICRO_BATCH, halved
from variantforge.stages.train.stage import STAGE
from variantforge.step import Step, StepContext

MB = 1 << 20
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


def do(work: Callable[[], Any]) -> None:
    try:
        work()
        tell("done")
    except VariantforgeError as error:
        tell([type(error).__name__, error.what, error.why, error.next])


def tell(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def emit(event: dict[str, Any]) -> None:
    if event["kind"] == "note":
        tell(event["text"])


def isolated(job: Job, preload: tuple[str, ...] = ()) -> None:
    for waits in Isolated(preload).run(job, emit, lambda: False):
        wait(waits, 0.2)


def place(root: Path, name: str) -> tuple[Path, Path]:
    """Folders for what a step makes, and for what it keeps."""
    for folder in (root / name, root / f"{name}-scratch"):
        folder.mkdir(parents=True)
    return root / name, root / f"{name}-scratch"


def a_step(size: int, mb_a_row: int, processes: int = 1) -> Step:
    params = {"adapter": {}, "args": {MICRO_BATCH: size, ACCUMULATION: 1}, "mb_a_row": mb_a_row}
    return Step("train", 1, "sft", params, hints={"processes": processes} if processes > 1 else {})


def rows(root: str, *numbers: str) -> None:
    for size, mb_a_row in zip(*[map(int, numbers)] * 2, strict=True):
        job = HungryJob(a_step(size, mb_a_row), {}, *place(Path(root), str(size)), "train code")
        do(lambda job=job: isolated(job))  # type: ignore[misc]


def workers(root: str, size: str, mb_a_row: str) -> None:
    launch.WORKER = (sys.executable, "-c", "from tests.run.hungry import work; work()")  # type: ignore[assignment]
    step = a_step(int(size), int(mb_a_row), processes=2)
    do(lambda: STAGE.do(StepContext(step, {}, *place(Path(root), size), emit=emit)))


def work() -> None:
    """As a worker: no training, but the memory that one would take."""
    pipe = Connection(int(sys.argv[1]))
    step, _, _, scratch, _ = pipe.recv()
    args = {**step.params["args"], **shared(step.params["args"], 2)}
    size = {**args, **halved(args, scratch)}[MICRO_BATCH]
    pipe.send(("event", {"kind": "note", "text": f"{os.environ['RANK']} tries {size}"}))
    take(size * step.params["mb_a_row"] * int(os.environ["RANK"]))
    pipe.send(("done", None))


def trains(root: str, model: str) -> None:
    from tests.stages.train.lab import Lab

    lab = Lab(Path(root), Path(model))
    args: dict[str, Any] = {MICRO_BATCH: 4, ACCUMULATION: 1, "bf16": False}
    for name in ("undisturbed", MARK):
        out, scratch = place(lab.root, name)
        if name == MARK:
            (scratch / MARK).touch()
        job = Job(lab.step(**args), {"base": lab.base, "data": lab.data}, out, scratch, "train code")
        do(lambda job=job: isolated(job, ("variantforge.run.heavy", "tests.run.starving")))  # type: ignore[misc]


def main() -> None:
    modes: dict[str, Callable[..., None]] = {"rows": rows, "workers": workers, "trains": trains}
    modes[sys.argv[1]](*sys.argv[2:])
