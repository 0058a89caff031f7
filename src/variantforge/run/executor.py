"""An executor is only *where* a step runs: this process, or a fresh one. What a job is, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from variantforge.stages import stage
from variantforge.step import Artifact, Step, StepContext


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

    def run(self, job: Job, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        """Does the job, or raises what the stage raised. ``emit`` receives the step's progress and notes."""

    def close(self) -> None:
        """Ends what the executor started."""
