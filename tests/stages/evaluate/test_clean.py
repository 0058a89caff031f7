"""Figures without the items that the training data hold: which those are, and what gates make of them."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.plan.families import fill, write_base
from tests.stages.evaluate.lm_eval.suites import CHOICES, write_task
from variantforge import Resolver, build_plan, load_family
from variantforge.errors import EvaluateError, SpecError
from variantforge.hashing import file_digest
from variantforge.plan.plan import Plan
from variantforge.plan.walls import runs_generated_code
from variantforge.report.cells import metrics_of
from variantforge.report.quality import suites
from variantforge.report.shelf import Shelf
from variantforge.stages.card.facts import left_out, measurements
from variantforge.stages.data.stage import STAGE as DATA
from variantforge.stages.evaluate.clean import place_of_clean
from variantforge.stages.evaluate.lm_eval.evaluator import LmEval, LmEvalParams
from variantforge.stages.evaluate.lm_eval.measuring import row_of
from variantforge.stages.evaluate.lm_eval.tasks import read_suite
from variantforge.stages.evaluate.metric import read_examples
from variantforge.stages.evaluate.stage import STAGE as EVALUATE
from variantforge.stages.gate.outcomes import outcomes_file, outcomes_text
from variantforge.stages.gate.stage import STAGE as GATE
from variantforge.stages.stage import Place
from variantforge.step import FACTS, Artifact, Pin, Step
from variantforge.store.artifacts import Store

QUESTION = "How many sheep does a farmer own in the end who had seventeen and lost all of them but nine last winter"
GATES = [{"metric": "python.pass@1_clean", "vs": "base", "worse_by_at_most": 0.1}]
LEFT = 60  # problems that no training row holds


def family(folder: Path, planted: int = 1, **more: Any) -> dict[str, Any]:
    """Sixty problems and more, the first of which training rows hold word for word."""
    (folder / "base").mkdir(exist_ok=True)
    write_base(folder / "base")
    problems = [
        {"task_id": f"P/{n}", "prompt": f"{QUESTION} number {n} of {'x' * n}?", "tests": "assert f() == 9"}
        for n in range(LEFT + planted)
    ]
    rows = [{"prompt": f"q{n}", "completion": f"a{n}"} for n in range(8)]
    rows += [{"prompt": f"Well: {problem['prompt']}", "completion": "9"} for problem in problems[:planted]]
    for name, lines in (("problems", problems), ("rows", rows)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {
        "family": "clean",
        "base": {"model": "./base", "license": "apache-2.0"},
        "datasets": {"rows": {"path": "./rows.jsonl", "license": "mit"}},
        "variants": {"one": {"kind": "code", "data": {"mix": {"rows": 1.0}}}},
        "evaluate": {"python": {"evaluator": "code", "path": "./problems.jsonl"}, "parity": "off"},
        "data_policy": {"decontaminate": {}},
        "publish": {"path": "./published"},
        **more,
    }


def plan_of(folder: Path, told: dict[str, Any]) -> Plan:
    (folder / "family.yaml").write_text(json.dumps(told))
    return build_plan(load_family(folder / "family.yaml"), Resolver(folder=folder))


def step_at(plan: Plan, place: Place) -> Step:
    return plan.steps[plan.places[place]]


def mixed(folder: Path, plan: Plan) -> Artifact:
    """The mix, really made."""
    rows = do_step(DATA, step_at(plan, Place("data", None, "rows")), folder)
    return do_step(DATA, step_at(plan, Place("data", "one", "mix")), folder, {"rows": rows})


def solved(folder: Path, name: str, right: set[int], problems: int, **row: Any) -> Artifact:
    """A measurement as the evaluator leaves it: the problems ``right`` are solved."""
    lines = [
        {"id": f"P/{n}", "source": "file", "items": 1, "pass@1": float(n in right), "answer": "…", "answers": 1, **row}
        for n in range(problems)
    ]
    made = folder / f"measured {name}"
    made.mkdir()
    (made / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metric = {"value": len(right) / problems, "low": 0.0, "high": 1.0, "n": problems, "better": "higher"}
    columns = {"pass@1": {"total": "pass@1", "per": "items", "better": "higher", "scale": "identity"}}
    facts = {"metrics": {"pass@1": metric}, "columns": columns, "examples": problems}
    (made / FACTS).write_text(json.dumps(facts))
    return Artifact(name, made)


def viewed(folder: Path, plan: Plan, subject: str, measured: Artifact, mix: Artifact) -> Artifact:
    step = step_at(plan, place_of_clean("one", "python", subject))
    return do_step(EVALUATE, step, folder / f"clean {subject}", {"measured": measured, "mix 0": mix})


def test_items_that_a_training_row_holds_are_left_out_whether_their_rows_were_dropped_or_not(tmp_path: Path) -> None:
    for policy in ("drop", "report"):
        folder = tmp_path / policy
        folder.mkdir()
        plan = plan_of(folder, family(folder, 3, data_policy={"decontaminate": {"on_hit": policy}}))
        measured = solved(folder, "merged", {0, 1, 2, 3}, LEFT + 3)
        clean = viewed(folder, plan, "merged", measured, mixed(folder, plan))
        assert clean.facts["left_out"] == {"./problems.jsonl": 3}
        assert clean.facts["examples"] == LEFT
        found = clean.facts["metrics"]["pass@1_clean"]
        assert (found["value"], found["n"], found["better"]) == (pytest.approx(1 / LEFT, abs=1e-6), LEFT, "higher")
        rows = read_examples(clean)
        assert rows[0] == {"id": "P/0", "left_out": True}
        assert "answer" not in rows[3]


def test_where_nothing_is_found_the_figures_are_equal(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, family(tmp_path, 0))
    measured = solved(tmp_path, "merged", {3, 5}, LEFT)
    clean = viewed(tmp_path, plan, "merged", measured, mixed(tmp_path, plan))
    assert clean.facts["left_out"] == {"./problems.jsonl": 0}
    assert clean.facts["metrics"]["pass@1_clean"]["value"] == pytest.approx(2 / LEFT, abs=1e-6)


def test_measurements_keep_their_keys_and_other_data_make_only_another_view(tmp_path: Path) -> None:
    told = family(tmp_path)
    plain = plan_of(tmp_path, told | {"data_policy": {}})
    before = plan_of(tmp_path, told)
    of_base, view = Place("evaluate", "one", "python:base"), place_of_clean("one", "python", "base")
    assert plain.places[of_base] == before.places[of_base]
    assert view not in plain.places
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "other", "completion": "rows"}) + "\n")
    after = plan_of(tmp_path, told)
    assert after.places[of_base] == before.places[of_base]
    assert after.places[view] != before.places[view]
    assert not runs_generated_code(step_at(after, view))
    assert runs_generated_code(step_at(after, of_base))


def test_what_a_variant_started_from_counts_as_its_training_data(tmp_path: Path) -> None:
    told = family(tmp_path)
    told["variants"]["two"] = {"kind": "code", "from": "one", "data": {"mix": {"rows": 0.5}}}
    step = step_at(plan_of(tmp_path, told), place_of_clean("two", "python", "merged"))
    assert set(step.inputs) == {"measured", "mix 0", "mix 1"}


def test_an_example_that_does_not_say_which_item_it_is_is_no_clean_one(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, family(tmp_path))
    place = place_of_clean("one", "python", "merged")
    step = step_at(plan, place)
    suites = {"file": ["./problems.jsonl", "item"]}
    asked = Step(step.stage, step.version, step.method, {"clean": {**step.params["clean"], "suites": suites}})
    inputs = {"measured": solved(tmp_path, "merged", {1}, LEFT + 1), "mix 0": mixed(tmp_path, plan)}
    with pytest.raises(EvaluateError, match="does not say which item") as caught:
        do_step(EVALUATE, asked, tmp_path / "out", inputs)
    assert f"rm -r {tmp_path / 'measured merged'}" in caught.value.next


# --- gates ------------------------------------------------------------------------------------------------------------


def judged(folder: Path, plan: Plan, right: dict[str, set[int]], planted: int, **more: Any) -> dict[str, Any]:
    """The verdict on the merged weights; ``right``: what base and merged weights solve."""
    mix, step = mixed(folder, plan), step_at(plan, Place("gate", "one", "merged"))
    inputs: dict[str, Artifact] = {}
    for subject, numbers in right.items():
        role = "subject" if subject == "merged" else subject
        inputs[f"python:{role}"] = solved(folder, subject, numbers, LEFT + planted)
        inputs[f"python:{role} clean"] = viewed(folder, plan, subject, inputs[f"python:{role}"], mix)
    assert set(step.inputs) == set(inputs)
    asked = Step(step.stage, step.version, step.method, step.params | more.get("params", {}), {}, more.get("pins", {}))
    verdict: dict[str, Any] = do_step(GATE, asked, folder / "gate", inputs).facts["verdicts"][0]
    return verdict


def test_what_was_learned_by_heart_passes_no_gate_on_the_clean_figure(tmp_path: Path) -> None:
    """Twenty problems stand in the data and are solved now; of the others, the base solved more."""
    plan = plan_of(tmp_path, family(tmp_path, 20, gates=[{**GATES[0], "worse_by_at_most": 0.02}]))
    right = {"merged": {*range(20)}, "base": {*range(20, 32)}}
    verdict = judged(tmp_path, plan, right, 20)
    assert verdict["verdict"] == "fail"
    assert verdict["metric"] == "python.pass@1_clean"
    assert f"{LEFT} examples, 20 left out" in verdict["why"]


def test_a_suite_of_which_nothing_is_left_proves_nothing(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, family(tmp_path, 3, gates=GATES))
    problems = (tmp_path / "problems.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "problems.jsonl").write_text("".join(problems[:3]))
    plan = plan_of(tmp_path, json.loads((tmp_path / "family.yaml").read_text()))
    verdict = judged(tmp_path, plan, {"merged": {0}, "base": {0}}, 3 - LEFT)
    assert verdict["verdict"] == "not enough data"
    assert verdict["why"].endswith("has no items left: the training data hold all 3")


def test_of_the_release_before_the_same_items_are_left_out(tmp_path: Path) -> None:
    told = family(tmp_path, 20, gates=[{**GATES[0], "vs": "previous", "worse_by_at_most": 0.02}])
    plan = plan_of(tmp_path, told)
    before = tmp_path / outcomes_file("one", "python", "merged")
    text = outcomes_text(solved(tmp_path, "before", {*range(40)}, LEFT + 20), {"version": "0.9.0"})
    before.write_text(text)
    pins = {"python:previous": Pin(file_digest(before), str(before))}
    verdict = judged(tmp_path, plan, {"merged": {*range(20)}}, 20, params={"previous": "0.9.0"}, pins=pins)
    assert verdict["verdict"] == "fail"
    assert "0 is 0.3333 worse than 0.9.0's 0.3333" in verdict["why"]


def test_wildcards_do_not_mean_them_unless_they_end_so(tmp_path: Path) -> None:
    def demanded(metric: str) -> list[str]:
        plan = plan_of(tmp_path, family(tmp_path, gates=[{**GATES[0], "metric": metric}]))
        return [one["metric"] for one in step_at(plan, Place("gate", "one", "merged")).params["demands"]]

    assert demanded("python.*") == ["python.pass@1"]
    assert demanded("python.*_clean") == ["python.pass@1_clean"]


def test_a_gate_on_what_nobody_looks_for_is_told_while_planning(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        plan_of(tmp_path, family(tmp_path, gates=GATES, data_policy={}))
    (problem,) = caught.value.problems
    assert problem.key == "gates[0].metric"
    assert "write data_policy: {decontaminate: {}}" in problem.text


# --- tasks of lm_eval -------------------------------------------------------------------------------------------------


def of_tasks(folder: Path, **config: Any) -> dict[str, Any]:
    told = family(folder)
    told["evaluate"]["general"] = {"evaluator": "lm_eval", "tasks": [write_task(folder, **{**CHOICES, **config})]}
    return told


def test_items_of_a_task_file_are_found_by_what_they_are_called_there(tmp_path: Path) -> None:
    step = step_at(plan_of(tmp_path, of_tasks(tmp_path)), place_of_clean("one", "general", "merged"))
    assert step.params["clean"] == {
        "metrics": ["mine", "mine.acc_norm"],
        "suites": {"mine": ["./tasks/mine.jsonl", "item"]},
    }
    leaf = read_suite(["./tasks/mine.yaml"], tmp_path).leaves["mine"]
    for doc, item in (({"q": "?"}, "3"), ({"q": "?", "id": 17}, "17"), ({"id": datetime(2020, 1, 1)}, None)):
        sample = {"doc_id": 2, "doc_hash": "h", "doc": doc, "resps": []}
        assert row_of(leaf, sample).get("item") == item


def test_items_that_cannot_be_told_apart_have_no_clean_figure(tmp_path: Path) -> None:
    evaluator, params = LmEval(), LmEvalParams(tasks=["./tasks/mine.yaml"])
    files = {"test": ["mine.jsonl", "mine.jsonl"], "train": "mine.jsonl"}
    write_task(tmp_path, dataset_kwargs={"data_files": files}, **CHOICES)
    assert evaluator.named_suites(params, tmp_path) == {}
    assert evaluator.named_metrics(params, "merged", tmp_path) == ()
    write_task(tmp_path, dataset_path="acme/items", dataset_kwargs=None, **CHOICES)
    assert evaluator.named_suites(params, tmp_path) == {"mine": ("mine (acme/items)", "id")}
    assert [metric.name for metric in evaluator.named_metrics(params, "merged", tmp_path)] == ["mine", "mine.acc_norm"]


# --- what is told -----------------------------------------------------------------------------------------------------


def test_a_card_has_both_figures_and_says_how_many_items_were_left_out(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, family(tmp_path, 3))
    card = step_at(plan, Place("card", "one", "merged"))
    assert {"evaluate:python:base clean", "evaluate:python:merged clean"} <= set(card.inputs)
    measured = solved(tmp_path, "merged", {0, 5}, LEFT + 3)
    inputs = {"evaluate:python:merged": measured}
    inputs["evaluate:python:merged clean"] = viewed(tmp_path, plan, "merged", measured, mixed(tmp_path, plan))
    told = measurements(inputs, {"python": "code"}, ["base", "merged"])
    assert [(one.name, one.n) for one in told] == [("python.pass@1", LEFT + 3), ("python.pass@1_clean", LEFT)]
    assert left_out(inputs, told) == [
        "`python.pass@1_clean` leaves out what the training data hold: 3 of 63 items were found there."
    ]


def test_the_report_shows_both_and_how_many_items_were_left_out(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, family(tmp_path, 3)), tmp_path / "store"
    fill(plan, store)
    mix = mixed(tmp_path, plan)
    for subject, right in (("base", {7, 8}), ("merged", {0, 5})):
        measured = solved(tmp_path, subject, right, LEFT + 3)
        view = viewed(tmp_path, plan, subject, measured, mix)
        for place, artifact in (
            (Place("evaluate", "one", f"python:{subject}"), measured),
            (place_of_clean("one", "python", subject), view),
        ):
            shutil.copytree(artifact.path, store / "evaluate" / plan.places[place], dirs_exist_ok=True)
    shelf, spec = Shelf(plan, Store(store)), load_family(tmp_path / "family.yaml").spec
    (suite,) = suites(shelf, spec)
    assert suite.facts["left_out_as_trained_on"] == 3
    rows = {(row.metric, row.subject): row for row in suite.rows}
    assert rows["python.pass@1", "merged"].gains["base"].value == 0.0
    assert rows["python.pass@1_clean", "merged"].gains["base"].value == pytest.approx(-1 / LEFT, abs=1e-6)
    assert "python.pass@1_clean" in metrics_of(shelf, "one", "merged")
