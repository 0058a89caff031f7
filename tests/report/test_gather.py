"""What a report says, of finished families and of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.shelves import Demo, make, planned
from variantforge.report import Report, gather
from variantforge.report.page import page
from variantforge.stages import Place
from variantforge.store.journal import Journal

GOLDEN = Path(__file__).parents[1] / "golden" / "report" / "demo.json"


def steady(value: Any) -> Any:
    """Three digits of each figure: what lies beyond is the statistics' own affair."""
    if isinstance(value, dict):
        return {name: steady(it) for name, it in value.items()}
    if isinstance(value, list | tuple):
        return [steady(it) for it in value]
    return float(f"{value:.3g}") if isinstance(value, float) and abs(value) < 1e6 else value


def test_all_that_is_said_of_a_finished_family(told: Report, golden: Callable[[Path, str], None]) -> None:
    ledger = replace(told.ledger, machines=["this one"], versions={"tool": ["1.0"]}, runs=[])
    assert told.metrics["heldout.loss"].startswith("mean negative log-likelihood")  # as cards put it
    golden(GOLDEN, json.dumps(steady(asdict(replace(told, ledger=ledger, metrics={}))), indent=1) + "\n")


def test_equal_artifacts_give_equal_bytes(demo: Demo) -> None:
    once, again = (page(gather(demo.plan, demo.store)) for _ in range(2))
    assert once == again


def test_a_family_of_which_nothing_is_made_is_all_missing(tmp_path: Path) -> None:
    demo = planned(tmp_path)
    report = gather(demo.plan, demo.store)
    assert len(report.missing) == len(demo.plan.steps)
    assert {step.word for step in report.missing} == {"not made"}
    assert {cell.state for cell in report.cells} == {"missing"}
    assert (report.suites, report.gates, report.trainings, report.mixes) == ([], [], [], [])
    assert "This report is not complete." in page(report)


def test_a_step_that_failed_is_told_with_what_it_said(tmp_path: Path) -> None:
    demo = planned(tmp_path)
    step = demo.plan.steps[demo.plan.places[Place("train", "code")]]
    journal = Journal(demo.store.root / "journal.sqlite")
    journal.record(journal.start("demo"), step, "train code", "failed", 1.0, "the loss is NaN")
    found = {it.label: (it.word, it.why) for it in gather(demo.plan, demo.store).missing}
    assert found["train code"] == ("failed", "the loss is NaN")


def test_what_a_refusal_stops_is_told_as_blocked(demo: Demo, tmp_path: Path) -> None:
    demo = demo.copied(tmp_path)
    shutil.rmtree(demo.store.root / "publish")
    found = {it.label: it for it in gather(demo.plan, demo.store).missing}
    assert found["publish code nf4"].word == "blocked"
    assert "not enough data" in found["publish code nf4"].why


def test_half_a_family_tells_the_half_that_is_there(tmp_path: Path) -> None:
    demo = planned(tmp_path)
    for stage, name in (("base", ""), ("data", "mix"), ("train", ""), ("merge", "")):
        make(demo, Place(stage, "instruct", name))
    report = gather(demo.plan, demo.store)
    assert [training.variant for training in report.trainings] == ["instruct"]
    states = {(cell.variant, cell.subject): cell.state for cell in report.cells}
    assert states["instruct", "merged"] == "not judged"
    assert states["instruct", "nf4"] == "missing"


@pytest.mark.parametrize("name", ["facts.json", "examples.jsonl", "manifest.json"])
def test_a_file_that_cannot_be_read_is_told_and_the_rest_stays(demo: Demo, tmp_path: Path, name: str) -> None:
    demo = demo.copied(tmp_path)
    key = demo.plan.places[Place("evaluate", "instruct", "heldout:nf4")]
    (demo.store.root / "evaluate" / key / name).write_text("{broken")
    report = gather(demo.plan, demo.store)
    assert [(it.label, it.word) for it in report.missing] == [("evaluate instruct heldout:nf4", "damaged")]
    assert name in report.missing[0].why
    assert str(tmp_path) not in report.missing[0].why
    assert len(report.suites) == 6


def test_a_gain_is_told_only_over_what_saw_the_same_tokens(demo: Demo, tmp_path: Path) -> None:
    demo = demo.copied(tmp_path)
    key = demo.plan.places[Place("evaluate", "instruct", "heldout:base")]
    facts = demo.store.root / "evaluate" / key / "facts.json"
    facts.write_text(facts.read_text().replace('"same"', '"others"'))
    suite = gather(demo.plan, demo.store).suites[0]
    nf4 = next(row for row in suite.rows if row.subject == "nf4" and row.metric == "heldout.loss")
    assert set(nf4.gains) == {"merged", "base"}  # a gate has compared it with the base, and said so
    assert not any(row.gains for row in suite.rows if row.metric == "heldout.perplexity" and row.subject == "merged")


def test_the_files_that_nothing_beats_are_the_best(told: Report) -> None:
    size, speed = [trade for trade in told.trade_offs if trade.variant == "instruct"]
    assert (size.metric, size.against) == ("heldout.loss", "size_bytes")
    assert {point.subject for point in size.points if point.best} == {"merged"}
    assert (speed.metric, speed.against, speed.against_better) == ("heldout.loss", "fast.tokens_per_s", "higher")
    assert {point.subject for point in speed.points if point.best} == {"merged", "gguf:Q8_0", "gguf:Q4_K_M"}


def test_answers_are_cut_and_say_by_how_much(demo: Demo, tmp_path: Path) -> None:
    demo = demo.copied(tmp_path)
    demo.say("x" * 5000)
    answer = gather(demo.plan, demo.store).answers[0].items[0].answers[0]
    assert (len(answer.text), answer.cut) == (1200, 3800)


def test_what_was_forced_to_ship_says_why_beside_its_verdict(demo: Demo, tmp_path: Path) -> None:
    demo = demo.copied(tmp_path)
    file = demo.store.root / "gate" / demo.plan.places[Place("gate", "code", "nf4")] / "facts.json"
    facts = json.loads(file.read_text())
    facts["forced"] = {"reason": "a preview", "refusal": facts.pop("refusal")}
    file.write_text(json.dumps(facts))
    report = gather(demo.plan, demo.store)
    states = {(cell.variant, cell.subject): cell.state for cell in report.cells}
    rows = [row for panel in report.gates for row in panel.rows if (row.variant, row.subject) == ("code", "nf4")]
    assert states["code", "nf4"] == "forced"
    assert {(row.forced, row.verdict) for row in rows} == {("a preview", "not enough data"), ("a preview", "pass")}
    assert "a preview" in page(report)


def test_a_demand_that_had_nothing_to_be_compared_with_is_told_without_an_interval(demo: Demo, tmp_path: Path) -> None:
    demo = demo.copied(tmp_path)
    file = demo.store.root / "gate" / demo.plan.places[Place("gate", "code", "merged")] / "facts.json"
    facts = json.loads(file.read_text())
    facts["verdicts"][0] |= {"value": None, "low": None, "high": None, "why": "it is 2; there is no previous release"}
    file.write_text(json.dumps(facts))
    report = gather(demo.plan, demo.store)
    row = next(row for row in report.gates[0].rows if (row.variant, row.subject) == ("code", "merged"))
    assert (row.estimate, row.verdict) == (None, "pass")
    assert "there is no previous release" in page(report)
