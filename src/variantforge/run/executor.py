"""An executor is only *where* a step runs: this process, or a fresh one. What a job is, and what comes back.

A job at work is a generator: whenever there is nothing to do but wait, it yields what it waits for. So one loop can
attend to several jobs, and no threads are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from variantforge.stages import stage
from variantforge.step import Artifact, Step, StepContext

Waits = Sequence[Any]  # as multiprocessing.connection.wait takes them


@dataclass(frozen=True)
class Job:
    """One step with everything it needs, as plain data that can be sent to another process."""

    step: Step
    inputs: Mapping[str, Artifact]
    out: Path
    scratch: Path
    label: str

    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        context = StepContext(self.step, self.inputs, self.out, self.scratch, self.label, emit, stopping)
        stage(self.step.stage).do(context)


class Executor(Protocol):
    def warm_up(self) -> None:
        """Called once before the first step, when some step of the run is heavy. Must not wait."""

    def run(
        self, job: Job, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]
    ) -> Generator[Waits, None, None]:
        """Does the job, or raises what the stage raised. ``emit`` receives the step's progress and notes.

        To be resumed when one of what it yielded is ready, and now and then besides: it looks whether it should stop.
        Closed before its end, it ends the job at once.
        """

    def close(self) -> None:
        """Ends what the executor started."""
