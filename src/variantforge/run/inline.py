"""Runs a step in this process: for light steps, for tests, for a debugger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from variantforge.run.executor import Job


class Inline:
    def warm_up(self) -> None:
        pass

    def run(self, job: Job, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        job.do(emit, stopping)

    def close(self) -> None:
        pass
