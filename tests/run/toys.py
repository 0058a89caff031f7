"""A toy stage, an executor that takes turns, and jobs that misbehave in every way a step can."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from variantforge.errors import Interrupted, NonFiniteLoss
from variantforge.plan.build import Plan
from variantforge.run.executor import Job, Waits
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


class ToyMerge(Toy):
    """Leaves a model of 4,000 weights, in a file that holds its header alone."""

    def do(self, context: StepContext) -> None:
        (context.out / "model").mkdir()
        header = json.dumps({"weight": {"dtype": "BF16", "shape": [40, 100], "data_offsets": [0, 8000]}}).encode()
        text = len(header).to_bytes(8, "little") + header + bytes(8000)
        (context.out / "model" / "model.safetensors").write_bytes(text)
        super().do(context)


def toy_format(name: str, merge: Step, **params: Any) -> Step:
    """A quantize step whose memory is known: such steps may be at work side by side."""
    return Step("quantize", 1, "gguf", {"name": name, "type": name, **params}, {"model": merge.key})


class Turns:
    """Does steps in this process, turn by turn: each is at work for as many turns as its parameter ``turns`` says (3),
    and is done, or fails, in the last."""

    def __init__(self) -> None:
        self.at_work: list[str] = []
        self.seen: list[tuple[str, ...]] = []  # what was at work together, whenever a step began
        self.ended: list[str] = []
        self._always_ready, write_end = os.pipe()
        os.close(write_end)

    def warm_up(self) -> None: ...

    def run(
        self, job: Job, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]
    ) -> Generator[Waits, None, None]:
        name = str(job.step.params["name"])
        self.at_work.append(name)
        self.seen.append(tuple(self.at_work))
        try:
            for turn in range(job.step.params.get("turns", 3)):
                emit({"kind": "progress", "done": turn, "total": 3, "unit": "turn", "metrics": {}})
                if stopping():
                    raise Interrupted(f"{name} has saved")
                yield (self._always_ready,)
            job.do(emit, stopping)
        finally:
            self.at_work.remove(name)
            self.ended.append(name)

    def close(self) -> None:
        os.close(self._always_ready)


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


class ScoreJob(Job):
    def do(self, emit: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> None:
        emit({"kind": "note", "text": Path("/proc/self/oom_score_adj").read_text()})


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
