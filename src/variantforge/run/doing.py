"""One step, from its verified inputs to its artifact in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from variantforge.errors import VariantforgeError
from variantforge.fsops import telling_disk_errors
from variantforge.plan.build import Plan
from variantforge.run.executor import Executor, Job, Waits
from variantforge.run.isolated import unexpected
from variantforge.run.results import Reporter, Result
from variantforge.stages import stage
from variantforge.step import Artifact, Step
from variantforge.store.artifacts import Store

Work = Generator[Waits, None, Result]  # a step at work: what it waits for, again and again, and how it ended


@dataclass
class Workshop:
    """Does steps of a plan: heavy ones in a process of their own, light ones here and at once."""

    plan: Plan
    store: Store
    heavy: Executor
    light: Executor
    reporter: Reporter
    stopping: Callable[[], bool]

    def do(self, step: Step) -> Work:
        label, started = self.plan.label(step.key), time.monotonic()
        self.reporter.step_started(step.key, label)
        try:
            artifact = yield from self._build(step, label)
        except VariantforgeError as error:
            return Result("failed", time.monotonic() - started, error.what, error)
        refusal = artifact.refusal if step.stage == "gate" else ""
        told = refusal or (_forced(artifact) if step.stage == "gate" else "")
        return Result("refused" if refusal else "done", time.monotonic() - started, told)

    def _build(self, step: Step, label: str) -> Generator[Waits, None, Artifact]:
        inputs = {role: self.store.verified(self.plan.steps[key]) for role, key in step.inputs.items()}
        executor = self.heavy if is_heavy(step) else self.light
        notes: list[str] = []

        def emit(event: dict[str, Any]) -> None:
            if event["kind"] == "note":
                notes.append(event["text"])
            self.reporter.event(step.key, event)

        started, clock = time.time(), time.monotonic()
        with telling_disk_errors(self.store.root), self.store.building(step) as (out, scratch):
            try:
                yield from executor.run(Job(step, inputs, out, scratch, label), emit, self.stopping)
            except (VariantforgeError, OSError, KeyboardInterrupt):
                raise
            except Exception as error:
                raise unexpected(error) from error
            made = {"started": started, "seconds": round(time.monotonic() - clock, 3), "notes": notes, "label": label}
            return self.store.commit(step, out, made)


def is_heavy(step: Step) -> bool:
    """Whether a step has a process of its own: its stage imports torch, or the step says so itself (a teacher)."""
    return stage(step.stage).heavy or bool(step.hints.get("heavy"))


def _forced(artifact: Artifact) -> str:
    """What the journal says of a gate whose refusal somebody overrode."""
    forced = artifact.facts.get("forced")
    return f"forced: {forced['reason']} (refused: {forced['refusal']})" if forced else ""
