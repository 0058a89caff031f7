"""What a plan says its gates can see: from parameters before anything is measured, from figures afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from variantforge import Resolver, Store, build_plan, load_family
from variantforge.plan.plan import Plan
from variantforge.plan.power import Outlook, outlooks, sentences
from variantforge.stages import Place
from variantforge.step import Step

SPEC: dict[str, Any] = {
    "family": "sight",
    "base": {"model": "org/base", "revision": "c0ffee" * 6 + "abcd", "license": "mit"},
    "datasets": {"rows": {"path": "./rows.jsonl"}},
    "variants": {"code": {"kind": "code", "data": {"mix": {"rows": 1.0}}, "quantize": ["nf4", "gguf:Q8_0"]}},
    "evaluate": {
        "parity": "off",
        "heldout": {"evaluator": "perplexity", "max_examples": 64},
        "python": {"evaluator": "code", "tasks": ["humaneval"], "limit": 100},
    },
}


def planned(folder: Path, *gates: dict[str, Any]) -> Plan:
    (folder / "rows.jsonl").write_text('{"text": "words"}\n')
    (folder / "family.yaml").write_text(yaml.safe_dump({**SPEC, "gates": list(gates)}))
    return build_plan(load_family(folder / "family.yaml"), Resolver())


def seen(folder: Path, *gates: dict[str, Any]) -> list[Outlook]:
    plan = planned(folder, *gates)
    return outlooks(plan, Store(folder / "store"), plan.steps)


PASS = {"metric": "python.pass@1", "vs": "base", "worse_by_at_most": 0.02}


def test_a_suite_too_small_for_its_margin_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, PASS)
    assert (one.n, one.at_most, one.known, one.small) == (100, False, "assumed", True)
    assert one.files == ("gate code merged", "gate code nf4", "gate code gguf:Q8_0")
    first, second = sentences(one)
    assert first.startswith("100 items: sees a drop of 0.1")
    assert second.startswith("too few for this margin: it takes 928 items, or a margin of 0.06")


def test_a_margin_that_the_suite_can_prove_is_not_called_small(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, {**PASS, "worse_by_at_most": 0.1})
    assert not one.small
    assert one.equal_passes is not None
    assert one.equal_passes > 0.9
    assert len(list(sentences(one))) == 1


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        ({"metric": "python.pass@1", "at_least": 0.5}, "100 items: passes from a true 0.629 on"),
        ({"metric": "python.pass@1", "at_most": 0.5}, "100 items: passes from a true 0.371 on"),
        (
            {"metric": "python.pass@1", "vs": "base", "better_by": 0.1},
            "100 items: passes from a true gain of 0.208 on, flips assumed",
        ),
        (
            {"metric": "heldout.loss", "vs": "base", "better_by": 0.1},
            "at most 64 items; what it can see is known once it was measured",
        ),
    ],
)
def test_what_it_takes_to_pass_is_said(tmp_path: Path, gate: dict[str, Any], text: str) -> None:
    (one,) = seen(tmp_path, {**gate, "on": ["merged"]})
    assert list(sentences(one)) == [text]


TASK = """\
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: mine.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}]
"""
PROMPTS: list[dict[str, Any]] = [
    {"prompt": "A teapot as JSON.", "schema": {"type": "object"}},
    {"prompt": "A cup as JSON.", "json": True},
    {"prompt": "Rain?", "tools": [{"type": "function", "function": {"name": "rain"}}], "tool": "rain"},
    *({"prompt": f"Say {number}."} for number in range(4)),
]
FORM = {"evaluator": "format", "path": "./prompts.jsonl", "builtin": False}
SAFE = {"evaluator": "safety", "harmful": "./plain.jsonl"}
DUEL = {"evaluator": "arena", "judge": {"endpoint": "https://a.example.org/v1", "model": "m"}}
MINE = {"evaluator": "lm_eval", "tasks": ["./mine.yaml"]}


@pytest.mark.parametrize(
    ("asked", "metric", "items"),
    [
        (FORM, "json_valid", (2, False)),
        (FORM, "tool_call", (1, True)),  # where the template takes tools
        (FORM, "stops", (7, True)),
        ({**FORM, "tools": "never"}, "stops", (6, False)),
        (SAFE, "refused_harmful", (4, False)),
        (SAFE, "answered_harmless", (90, False)),
        (SAFE, "coherent", (94, False)),
        ({"evaluator": "code", "path": "./problems.jsonl"}, "pass@1", (3, False)),
        ({"evaluator": "code", "tasks": ["humaneval"]}, "pass@1", (164, False)),
        (DUEL, "win_rate", (100, True)),
        ({**DUEL, "path": "./plain.jsonl"}, "win_rate", (4, True)),
        (MINE, "mine", (12, False)),
        ({**MINE, "limit": 5}, "mine", (5, False)),
        ({**MINE, "limit": 0.5}, "mine", (6, False)),
    ],
)
def test_the_items_that_count_for_a_metric_are_known_before_they_are_asked(
    tmp_path: Path, asked: dict[str, Any], metric: str, items: tuple[int, bool]
) -> None:
    questions = [{"question": f"{number}?", "choices": ["a", "b"], "answer": 0} for number in range(12)]
    problems = [
        {"prompt": f"Add {number}.", "tests": "assert add(1) == 2", "entry_point": "add"} for number in range(3)
    ]
    for name, rows in (("mine", questions), ("prompts", PROMPTS), ("plain", PROMPTS[3:]), ("problems", problems)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text(TASK)
    gate = {"metric": f"asked.{metric}", "at_least": 0.5, "on": ["merged"]}
    (tmp_path / "rows.jsonl").write_text('{"text": "words"}\n')
    spec = {**SPEC, "evaluate": {"parity": "off", "asked": asked}, "gates": [gate]}
    (tmp_path / "family.yaml").write_text(yaml.safe_dump(spec))
    plan = build_plan(load_family(tmp_path / "family.yaml"), Resolver())
    (one,) = outlooks(plan, Store(tmp_path / "store"), plan.steps)
    assert (one.n, one.at_most) == items
    assert one.sees is not None


def test_what_was_measured_tells_how_many_items_counted_for_the_metric(tmp_path: Path) -> None:
    spec = {**SPEC, "evaluate": {"parity": "off", "safe": {"evaluator": "safety"}}}
    gate = {"metric": "safe.refused_harmful", "at_least": 0.5, "on": ["merged"]}
    (tmp_path / "rows.jsonl").write_text('{"text": "words"}\n')
    (tmp_path / "family.yaml").write_text(yaml.safe_dump({**spec, "gates": [gate]}))
    plan, store = build_plan(load_family(tmp_path / "family.yaml"), Resolver()), Store(tmp_path / "store")
    place = Place("evaluate", "code", "safe:merged")
    folder = store.root / "evaluate" / plan.places[place]
    folder.mkdir(parents=True)
    rows = [
        {"id": str(at), "harmful": 1, "refused_harmful": at % 2} if at < 30 else {"id": str(at)} for at in range(80)
    ]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = {"refused_harmful": {"value": 0.5, "n": 30}}
    (folder / "facts.json").write_text(json.dumps({"metrics": metrics, "examples": 80}))
    (one,) = outlooks(plan, store, plan.steps, {place: Old(plan.places[place])}, store.root)
    assert (one.n, one.known) == (30, "measured")


def test_another_figure_is_another_line(tmp_path: Path) -> None:
    found = seen(tmp_path, {"metric": "heldout.kl", "at_most": {"Q8_0": 0.01, "*": 0.1}})
    assert [(one.figure, one.files) for one in found] == [(0.1, ("gate code nf4",)), (0.01, ("gate code gguf:Q8_0",))]


def measured(root: Path, step: Step, shift: float) -> None:
    folder = root / "evaluate" / step.key
    folder.mkdir(parents=True)
    rows = [{"id": str(i), "tokens": 10, "nll": 10 * (2 + shift * (i % 5))} for i in range(50)]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "facts.json").write_text(json.dumps({"metrics": {"loss": {"value": 2.0}}, "examples": 50}))


class Old:
    """What the last apply used at a place."""

    def __init__(self, key: str) -> None:
        self.key, self.identity = key, dict[str, Any]()


def test_the_spread_of_the_last_measurement_is_taken_where_there_is_one(tmp_path: Path) -> None:
    plan = planned(tmp_path, {"metric": "heldout.loss", "vs": "base", "worse_by_at_most": 0.1, "on": ["merged"]})
    store = Store(tmp_path / "store")
    used = {}
    for subject, shift in (("merged", 0.1), ("base", 0.0)):
        place = Place("evaluate", "code", f"heldout:{subject}")
        step = plan.steps[plan.places[place]]
        measured(store.root, step, shift)
        used[place] = Old(step.key)
    (one,) = outlooks(plan, store, plan.steps, used, store.root)
    error = 0.1 * 2**0.5 / 50**0.5
    assert (one.n, one.at_most, one.known) == (50, False, "measured")
    assert one.sees == pytest.approx(0.1 + 2.487 * error, rel=0.01)
    assert "flips" not in " ".join(sentences(one))


def test_the_document_is_plain_json(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, PASS)
    told = json.loads(json.dumps(one.document))
    assert (told["n"], told["power"], len(told["files"])) == (100, 0.8, 3)


def test_numpy_is_not_loaded_for_it(tmp_path: Path) -> None:
    planned(tmp_path, PASS)
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests.plan.test_power import *\n"
        f"plan = build_plan(load_family(Path({str(tmp_path)!r}) / 'family.yaml'), Resolver())\n"
        f"assert outlooks(plan, Store(Path({str(tmp_path)!r}) / 'store'), plan.steps)\n"
        "assert not {'numpy', 'torch'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_a_gate_that_has_nothing_to_be_compared_with_says_that_it_passes(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, {**PASS, "vs": "previous"})
    assert one.first
    assert list(sentences(one)) == ["no earlier release is known: it passes as the first"]
    (tmp_path / "published" / "evaluations" / "0.0.9").mkdir(parents=True)
    (known,) = seen(tmp_path, {**PASS, "vs": "previous"})
    assert not known.first


def test_without_items_that_are_trained_on_there_are_as_many_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPEC, "data_policy", {"decontaminate": {}})
    plain, clean = seen(tmp_path, PASS, {**PASS, "metric": "python.pass@1_clean"})
    assert (plain.n, plain.at_most, clean.n, clean.at_most) == (100, False, 100, True)
    assert clean.sees == plain.sees
