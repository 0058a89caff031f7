"""Runs a step in this process: for light steps, for tests, for a debugger."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from variantforge.run.executor import Job, Waits


class Inline:
    def warm_up(self) -> None:
        pass

    def run(
        self, job: Job, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]
    ) -> Generator[Waits, None, None]:
        job.do(emit, stopping)
        yield from ()  # nothing is ever waited for

    def close(self) -> None:
        pass
