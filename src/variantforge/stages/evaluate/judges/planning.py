"""A judge while planning. What it is enters the key of the evaluation; how fast it is asked does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from variantforge.stages.data.teacher.planning import is_gguf_file
from variantforge.stages.evaluate.judges.spec import JudgeSpec
from variantforge.stages.stage import Desk, Place
from variantforge.stages.teachers import pin_of_teacher, pinned_teacher
from variantforge.step import Pin, Step

JUDGE = "judge"
_PACE = ("requests_per_minute", "concurrency", "timeout_s")
_PINNED = "./pinned"  # stands in keys' parameters for a model that an input or a pin names


@dataclass(frozen=True)
class Appointed:
    """What a step that asks a judge takes in for it."""

    inputs: Mapping[str, Step] = field(default_factory=dict)
    pins: Mapping[str, Pin] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)


def appoint(desk: Desk, judge: JudgeSpec | None, title: str) -> Appointed | None:
    """For the evaluation ``title``; None after a problem."""
    if judge is None:
        return Appointed()
    key, hints = f"evaluate.{title}.judge.model", {"judge": judge.name}
    if judge.endpoint:
        named = {"api_key_env": judge.api_key_env} if judge.api_key_env else {}
        return Appointed(hints={**hints, "pace": {name: getattr(judge, name) for name in _PACE}, **named})
    if is_gguf_file(judge.model):
        pin = pin_of_teacher(desk, judge.model, key)
        return Appointed(pins={JUDGE: pin}, hints=hints) if pin else None
    step = pinned_teacher(desk, judge.model, place_of_judge(title), key, variant=False)
    return Appointed(inputs={JUDGE: step}, hints=hints) if step else None


def place_of_judge(title: str) -> Place:
    """Where a judge that is a model folder is laid out."""
    return Place("base", None, f"{JUDGE}:{title}")


def identity_of(judge: JudgeSpec) -> dict[str, Any]:
    """What of a judge enters the parameters of a step: all but what its input or its pin says."""
    told = judge.identity()
    if not judge.endpoint:
        return {name: value for name, value in told.items() if name != "model"}
    return {**told, "endpoint": judge.endpoint.rstrip("/")}


def judge_from(identity: Mapping[str, Any]) -> JudgeSpec:
    """The judge as ``identity_of`` has it."""
    return JudgeSpec.model_validate({"model": _PINNED, **identity})
