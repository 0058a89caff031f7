"""A toy stage, and jobs that misbehave in every way a step can."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from variantforge.errors import Interrupted, NonFiniteLoss
from variantforge.plan.build import Plan
from variantforge.run.executor import Job
from variantforge.spec.family import FamilySpec
from variantforge.stages.stage import Place
from variantforge.step import Artifact, Step, StepContext

FAMILY = FamilySpec.model_validate(
    {"family": "toy", "base": {"model": "./x"}, "variants": {"a": {"kind": "code", "data": {"mix": {"d": 1.0}}}}}
)


class Toy:
    """Does what its step's parameters say: ``raises`` (an exception), ``refusal`` (a sentence), ``asks_to_stop``."""

    version = 1
    heavy = False

    def __init__(self, name: str, actions: dict[str, Callable[[], None]], takes_refused: bool = False) -> None:
        self.name, self.actions, self.takes_refused = name, actions, takes_refused
        self.done: list[str] = []
        self.gone: set[str] = set()

    def plan(self, desk: Any, name: Any, variant: Any) -> None: ...

    def do(self, context: StepContext) -> None:
        self.done.append(str(context.step.params["name"]))
        self.actions.get(str(context.step.params["name"]), lambda: None)()
        (context.out / "text").write_text(context.label)
        context.write_facts({"refusal": context.step.params.get("refusal", "")})

    def stale(self, step: Step, artifact: Artifact) -> str:
        return "somebody removed it" if step.params["name"] in self.gone else ""


def toy_plan(*steps: Step) -> Plan:
    places = {Place(step.stage, "a", str(step.params["name"])): step.key for step in steps}
    return Plan(FAMILY, {step.key: step for step in steps}, places)


def toy(name: str, *inputs: Step, stage: str = "train", **params: Any) -> Step:
    return Step(stage, 1, "toy", {"name": name, **params}, {f"in{n}": step.key for n, step in enumerate(inputs)})


class TellingJob(Job):
    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        emit({"kind": "note", "text": f"HF_TOKEN is {os.environ.get('HF_TOKEN')}"})
        (self.out / "pid").write_text(str(os.getpid()))


class FailingJob(Job):
    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        raise NonFiniteLoss("the loss is nan at step 5", why="learning_rate 9", next="lower it")


class CrashingJob(Job):
    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        raise ZeroDivisionError("unforeseen")


class KilledJob(Job):
    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class PatientJob(Job):
    """Works until it is asked to stop; saves, and says so."""

    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        emit({"kind": "started", "pid": os.getpid()})
        while not stopping():
            time.sleep(0.02)
        Path(self.scratch / "checkpoint").write_text("saved")
        raise Interrupted("stopped at step 3")


class DeafJob(Job):
    """Never looks whether it should stop, and prints as it goes."""

    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        print("a library says hello", flush=True)  # noqa: T201
        time.sleep(600)


class ExitingJob(Job):
    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        print("the library's last words", flush=True)  # noqa: T201
        os._exit(7)


class LoginJob(TellingJob):
    """Tells which token the Hub's client would send, and what of the environment could lead to another."""

    def do(self, emit: Any, stopping: Any) -> None:
        from huggingface_hub import get_token

        emit({"kind": "note", "text": f"{get_token()} {sorted(name for name in os.environ if 'OIDC' in name)}"})
