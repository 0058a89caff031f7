"""Verdicts on bounds: what ships, what does not, and what nobody can know yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.stages.evaluate.desk import Table
from variantforge.errors import UnpairedGate
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.evaluate.stage import STAGE as EVALUATE
from variantforge.stages.evaluate.statistics import Interval, interval
from variantforge.stages.gate.stage import STAGE
from variantforge.stages.gate.verdict import verdict_on
from variantforge.stages.stage import Place
from variantforge.step import FACTS, Artifact, Step

METRICS = (
    Metric("loss", "nll", "tokens", "lower"),
    Metric("perplexity", "nll", "tokens", "lower", scale="exp"),
    Metric("kl", "kl", "tokens", "lower", on="quantized"),
)


def measured(
    root: Path, name: str, nlls: list[float], kls: list[float] | None = None, tokens_sha256: str = "t"
) -> Artifact:
    """An evaluation as the evaluate stage leaves it, ten tokens an example."""
    rows: list[dict[str, Any]] = [{"id": str(i), "tokens": 10, "nll": 10 * nll} for i, nll in enumerate(nlls)]
    for row, kl in zip(rows, kls or [], strict=False):
        row["kl"] = 10 * kl
    folder = root / name
    folder.mkdir()
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = {
        metric.name: {**interval(metric, rows)._asdict(), "better": metric.better}
        for metric in METRICS
        if metric.total in rows[0]
    }
    (folder / FACTS).write_text(json.dumps({"metrics": metrics, "tokens_sha256": tokens_sha256}))
    return Artifact(name, folder)


def spread(mean: float, n: int = 20, width: float = 0.1) -> list[float]:
    """``n`` values around ``mean``, evenly from ``mean - width`` to ``mean + width``."""
    return [mean - width + 2 * width * i / (n - 1) for i in range(n)]


def judge(root: Path, demands: list[dict[str, Any]], n: int = 0, **evaluations: Artifact) -> Artifact:
    root.mkdir(exist_ok=True)
    if n:
        evaluations["subject"] = measured(root, "subject", spread(1.2, n=n))
    inputs = {f"heldout:{role}": artifact for role, artifact in evaluations.items()}
    params = {"demands": [{"evaluator": "perplexity", **demand} for demand in demands]}
    step = Step("gate", 2, "bounds", params, {role: artifact.key for role, artifact in inputs.items()})
    return do_step(STAGE, step, root / "out", inputs)


@pytest.mark.parametrize(
    ("bound", "figure", "low", "high", "outcome"),
    [
        ("better_by", 0.1, 0.11, 0.3, "pass"),
        ("better_by", 0.1, 0.10, 0.3, "not enough data"),
        ("better_by", 0.1, -0.2, 0.1, "fail"),
        ("better_by", 0.0, 0.0, 0.0, "fail"),
        ("worse_by_at_most", 0.1, -0.1, 0.0, "pass"),
        ("worse_by_at_most", 0.1, -0.11, 0.0, "not enough data"),
        ("worse_by_at_most", 0.1, -0.3, -0.11, "fail"),
        ("worse_by_at_most", 0.0, 0.0, 0.0, "pass"),
        ("at_most", 2.0, 1.0, 2.0, "pass"),
        ("at_most", 2.0, 2.0, 2.1, "not enough data"),
        ("at_most", 2.0, 2.01, 2.1, "fail"),
        ("at_least", 2.0, 2.0, 3.0, "pass"),
        ("at_least", 2.0, 1.9, 2.0, "not enough data"),
        ("at_least", 2.0, 1.0, 1.99, "fail"),
    ],
)
def test_a_demand_is_proven_refuted_or_neither(bound: str, figure: float, low: float, high: float, outcome: str):
    assert verdict_on(Interval((low + high) / 2, low, high, 50), bound, figure) == outcome


def test_a_demand_without_enough_examples_is_neither(tmp_path: Path):
    assert verdict_on(Interval(1.0, 1.0, 1.0, 7), "at_most", 5.0, enough=False) == "not enough data"
    assert verdict_on(Interval(1.0, None, None, 1), "at_most", 5.0) == "not enough data"
    for n, outcome in ((7, "not enough data"), (8, "pass")):
        done = judge(tmp_path / str(n), [{"metric": "heldout.loss", "at_most": 5.0}], n=n)
        assert done.facts["verdicts"][0]["verdict"] == outcome
    assert (
        "at least 8 examples are needed" in judge(tmp_path, [{"metric": "heldout.loss", "at_most": 5.0}], n=7).refusal
    )


def test_a_clearly_better_model_passes_and_the_sentence_says_by_how_much(tmp_path: Path):
    subject, base = measured(tmp_path, "subject", spread(1.2)), measured(tmp_path, "base", spread(1.5))
    done = judge(tmp_path, [{"metric": "heldout.loss", "vs": "base", "better_by": 0.05}], subject=subject, base=base)
    assert done.refusal == ""
    (verdict,) = done.facts["verdicts"]
    assert verdict["why"] == (
        "heldout.loss 1.2 is 0.3 better than base's 1.5 (95 % bounds 0.3 to 0.3, 20 examples); "
        "demanded: better by more than 0.05"
    )
    assert {key: verdict[key] for key in ("metric", "vs", "demand", "verdict", "n")} == {
        "metric": "heldout.loss",
        "vs": "base",
        "demand": "better by more than 0.05",
        "verdict": "pass",
        "n": 20,
    }


def test_a_worse_model_is_refused_and_the_refusal_names_figure_bounds_demand_and_count(tmp_path: Path):
    subject, base = measured(tmp_path, "subject", spread(1.6, width=0.3)), measured(tmp_path, "base", spread(1.5))
    done = judge(tmp_path, [{"metric": "heldout.loss", "vs": "base", "better_by": 0.05}], subject=subject, base=base)
    assert done.facts["verdicts"][0]["verdict"] == "fail"
    for part in ("fail: heldout.loss 1.6 is 0.1 worse than base's 1.5", "95 % bounds", "20 examples", "more than 0.05"):
        assert part in done.refusal


def test_a_gain_within_the_noise_is_not_enough_data_and_does_not_ship(tmp_path: Path):
    subject = measured(tmp_path, "subject", [1.4, 1.7] * 10)
    base = measured(tmp_path, "base", [1.7, 1.5] * 10)
    done = judge(tmp_path, [{"metric": "heldout.loss", "vs": "base", "better_by": 0.0}], subject=subject, base=base)
    assert done.facts["verdicts"][0]["verdict"] == "not enough data"
    assert done.refusal.startswith("not enough data: heldout.loss 1.55 is 0.05 better")


def test_one_demand_unmet_refuses_though_the_others_pass(tmp_path: Path):
    subject = measured(tmp_path, "subject", spread(1.2), kls=spread(0.02, width=0.001))
    demands = [
        {"metric": "heldout.loss", "at_most": 2.0},
        {"metric": "heldout.kl", "at_most": 0.01},
        {"metric": "heldout.perplexity", "at_most": 4.0},
    ]
    done = judge(tmp_path, demands, subject=subject)
    assert [verdict["verdict"] for verdict in done.facts["verdicts"]] == ["pass", "fail", "pass"]
    assert done.refusal.count("\n") == 0
    assert "heldout.kl is 0.02" in done.refusal


def test_a_gain_in_perplexity_is_a_difference_of_exponentials(tmp_path: Path):
    subject, base = measured(tmp_path, "subject", spread(1.0)), measured(tmp_path, "base", spread(2.0))
    done = judge(
        tmp_path, [{"metric": "heldout.perplexity", "vs": "base", "better_by": 1.0}], subject=subject, base=base
    )
    assert done.facts["verdicts"][0]["value"] == pytest.approx(2.71828**2 - 2.71828, rel=1e-4)


def test_figures_of_other_tokens_are_not_compared(tmp_path: Path):
    subject = measured(tmp_path, "subject", spread(1.2))
    base = measured(tmp_path, "base", spread(1.5), tokens_sha256="other")
    with pytest.raises(UnpairedGate, match="other tokens were measured"):
        judge(tmp_path, [{"metric": "heldout.loss", "vs": "base", "better_by": 0.05}], subject=subject, base=base)


def test_figures_of_other_examples_are_not_compared(tmp_path: Path):
    subject, base = measured(tmp_path, "subject", spread(1.2)), measured(tmp_path, "base", spread(1.5, n=21))
    with pytest.raises(UnpairedGate, match="other items were measured"):
        judge(tmp_path, [{"metric": "heldout.loss", "vs": "base", "better_by": 0.05}], subject=subject, base=base)


# --- planning ---------------------------------------------------------------------------------------------------


def planned(**family: Any) -> Table:
    table = Table.of(**family)
    table.plan(EVALUATE)
    table.plan(STAGE)
    return table


def gates_of(table: Table, subject: str) -> list[str]:
    step = table.step(Place("gate", "code", subject))
    return [demand["metric"] for demand in step.params["demands"]] if step else []


def test_every_file_that_ships_is_judged_and_the_base_is_not():
    table = planned(gates=[{"metric": "heldout.loss", "vs": "base", "better_by": 0.05}])
    assert [place.name for place in table.places if place.stage == "gate"] == ["merged", "nf4", "gguf:Q8_0", "family"]
    step = table.step(Place("gate", "code", "nf4"))
    assert step is not None
    evaluations = {role: table.place_of(key).name for role, key in step.inputs.items()}
    assert evaluations == {"heldout:subject": "heldout:nf4", "heldout:base": "heldout:base"}


def test_a_demand_applies_to_the_files_that_have_its_metric():
    table = planned(
        gates=[
            {"metric": "heldout.kl", "at_most": 0.1},
            {"metric": "heldout.runtime_gap", "at_most": 0.1},
            {"metric": "heldout.loss", "vs": "merged", "worse_by_at_most": 0.1},
        ]
    )
    assert table.problems == []
    assert gates_of(table, "merged") == []
    assert gates_of(table, "nf4") == ["heldout.kl", "heldout.loss"]
    assert gates_of(table, "gguf:Q8_0") == ["heldout.kl", "heldout.runtime_gap", "heldout.loss"]


def test_a_star_stands_for_every_metric_that_both_sides_have():
    table = planned(gates=[{"metric": "heldout.*", "vs": "base", "worse_by_at_most": 0.1}])
    assert gates_of(table, "merged") == ["heldout.loss", "heldout.perplexity"]
    assert gates_of(table, "gguf:Q8_0") == ["heldout.loss", "heldout.perplexity"]


def test_without_gates_nothing_is_judged():
    assert not [place for place in planned().places if place.stage == "gate"]


def test_another_figure_is_another_gate_of_the_same_evaluations():
    first = planned(gates=[{"metric": "heldout.loss", "at_most": 2.0}])
    second = planned(gates=[{"metric": "heldout.loss", "at_most": 2.5}])
    ours, theirs = first.step(Place("gate", "code", "merged")), second.step(Place("gate", "code", "merged"))
    assert ours is not None
    assert theirs is not None
    assert ours.inputs == theirs.inputs
    assert ours.key != theirs.key


@pytest.mark.parametrize(
    ("gate", "key", "text"),
    [
        (
            {"metric": "heldout.los", "at_most": 1.0},
            "gates[0].metric",
            "nobody measures 'heldout.los'. Did you mean 'heldout.loss'?",
        ),
        (
            {"metric": "general.loss", "at_most": 1.0},
            "gates[0].metric",
            "nobody measures 'general.loss'. Measured: heldout.loss, heldout.perplexity, heldout.kl, heldout.same_top, "
            "heldout.runtime_gap.",
        ),
        (
            {"metric": "heldout.kl", "vs": "base", "better_by": 0.1},
            "gates[0].vs",
            "'heldout.kl' cannot be compared with base for any file of this family",
        ),
        (
            {"metric": "heldout.kl", "at_most": 0.1, "on": ["merged"]},
            "gates[0].on",
            "'heldout.kl' is of gguf:Q8_0, nf4, and none of these is named here",
        ),
        (
            {"metric": "heldout.runtime_gap", "at_most": {"nf4": 0.1}},
            "gates[0].at_most",
            "'heldout.runtime_gap' is of gguf:Q8_0, and none of these is named here",
        ),
        (
            {"metric": "heldout.loss", "vs": "merged", "worse_by_at_most": {"merged": 0.1}},
            "gates[0].worse_by_at_most",
            "'heldout.loss' is of gguf:Q8_0, nf4, and none of these is named here",
        ),
    ],
)
def test_a_gate_that_would_judge_nothing_is_told(gate: dict[str, Any], key: str, text: str):
    assert planned(gates=[gate]).problems == [(key, text)]


def test_a_gate_that_no_file_of_the_family_can_meet_is_told():
    table = planned(gates=[{"metric": "heldout.kl", "at_most": 0.1}], quantize=[])
    assert [key for key, _ in table.problems] == ["gates[0].metric"]
    table = planned(
        gates=[{"metric": "heldout.runtime_gap", "at_most": 0.1}],
        evaluate={"heldout": {"evaluator": "perplexity", "runtime_positions": 0}},
    )
    assert [key for key, _ in table.problems] == ["gates[0].metric"]


def test_a_refusal_that_somebody_overrode_ships_with_its_verdicts_and_its_reason(tmp_path: Path):
    subject = measured(tmp_path, "subject", spread(1.2))
    demand = {"evaluator": "perplexity", "metric": "heldout.loss", "at_most": 1.0}
    params = {"demands": [demand], "forced": "accepted for now"}
    step = Step("gate", 2, "bounds", params, {"heldout:subject": subject.key})
    done = do_step(STAGE, step, tmp_path / "out", {"heldout:subject": subject})
    assert done.refusal == ""
    assert done.facts["verdicts"][0]["verdict"] == "fail"
    assert done.facts["forced"]["reason"] == "accepted for now"
    assert done.facts["forced"]["refusal"].startswith("fail: heldout.loss is 1.2")
    refusing = Step(step.stage, step.version, step.method, {"demands": params["demands"]}, step.inputs)
    assert done.facts["forced"]["gate"] == refusing.key


def test_only_the_gate_that_was_overridden_gets_another_key():
    first = planned(gates=[{"metric": "heldout.loss", "at_most": 2.0}])
    merged = first.step(Place("gate", "code", "merged"))
    assert merged is not None
    second = Table.of(gates=[{"metric": "heldout.loss", "at_most": 2.0}])
    second.reasons[merged.key] = "accepted for now"
    second.plan(EVALUATE)
    second.plan(STAGE)
    forced = second.step(Place("gate", "code", "merged"))
    assert forced is not None
    assert forced.params["forced"] == "accepted for now"
    assert first.step(Place("gate", "code", "nf4")) == second.step(Place("gate", "code", "nf4"))
