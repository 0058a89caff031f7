"""Stages that plan like the real ones and only write facts, so that commands can be tried in milliseconds."""

from __future__ import annotations

from typing import Any

from variantforge.spec.family import VariantSpec
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Step, StepContext

NAMES = {"data": "mix", "quantize": "nf4", "evaluate": "heldout:nf4", "gate": "nf4", "card": "nf4", "publish": "nf4"}
NEEDS = {
    "train": ("base", "data"),
    "merge": ("base", "train"),
    "quantize": ("merge",),
    "evaluate": ("quantize",),
    "gate": ("evaluate",),
    "card": ("gate",),
    "publish": ("card", "quantize"),
}
LOSS = {"value": 2.345678, "low": 2.3, "high": 2.4, "n": 40, "better": "lower"}
PASS = {
    "metric": "heldout.loss",
    "vs": "base",
    "demand": "better by more than 0",
    "verdict": "pass",
    "value": 0.5,
    "low": 0.4,
    "high": 0.6,
    "n": 40,
    "why": "heldout.loss 2.346 is 0.5 better than base's 2.846",
}
FACTS: dict[str, dict[str, Any]] = {"evaluate": {"metrics": {"loss": LOSS}}, "gate": {"verdicts": [PASS]}}


def family_text(learning_rate: str = "1.0e-4") -> str:
    return f"""\
family: toy
base: {{model: ./base}}
datasets: {{rows: {{path: ./rows.jsonl}}}}
variants:
  code: {{kind: code, data: {{mix: {{rows: 1.0}}}}, train: {{args: {{learning_rate: {learning_rate}}}}}}}
  law: {{kind: domain, data: {{mix: {{rows: 1.0}}}}}}
"""


class Toy:
    """One step per variant (one for both in ``base``), and one for the family in ``card`` and ``publish``.

    ``failures``: label of a step -> what doing it raises; ``refusals``: label -> the verdict that stops its dependents.
    """

    version = 1
    heavy = False

    def __init__(self, name: str) -> None:
        self.name, self.takes_refused = name, False
        self.failures: dict[str, BaseException] = {}
        self.refusals: dict[str, str] = {}

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is not None and variant is not None:
            params: dict[str, Any] = {} if self.name == "base" else {"variant": name}
            if self.name == "publish":
                params["repo"] = f"local/toy-{name}-nf4"
            if self.name == "train":
                params["learning_rate"] = variant.train.args.get("learning_rate", "default")
            inputs = {need: _key(desk, need, name) for need in NEEDS.get(self.name, ())}
            desk.add(_place(self.name, name), Step(self.name, 1, "toy", params, inputs))
        elif self.name in ("card", "publish"):
            need = "card" if self.name == "publish" else "base"
            inputs = {each: _key(desk, need, each) for each in desk.family.variants}
            desk.add(Place(self.name, None, "family"), Step(self.name, 1, "toy", {"form": "family"}, inputs))

    def do(self, context: StepContext) -> None:
        if failure := self.failures.get(context.label):
            raise failure
        context.progress(1, 2, "row", loss=1.5)
        if self.name == "quantize":
            (context.out / "weights").write_bytes(b"\0" * 1_500_000)
        published = {"repo": context.step.params.get("repo"), "withheld": {}} if self.name == "publish" else {}
        refusal = self.refusals.get(context.label, "")
        context.write_facts({**FACTS.get(self.name, {}), **published, "refusal": refusal})

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


def _place(stage: str, variant: str) -> Place:
    return Place(stage, variant, NAMES.get(stage, ""))


def _key(desk: Desk, stage: str, variant: str) -> str:
    step = desk.step(_place(stage, variant))
    assert step is not None
    return step.key
