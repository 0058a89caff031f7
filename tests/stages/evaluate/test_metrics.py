"""Which metrics an evaluation has, and how a gate's text names one."""

from __future__ import annotations

from pathlib import Path

from variantforge.fsops import write_json
from variantforge.spec.family import EvaluatorSpec
from variantforge.stages.evaluate.evaluation import evaluation, metric_of, split_metric
from variantforge.stages.evaluate.metric import Metric
from variantforge.step import Artifact


def test_a_metrics_name_may_hold_dots_and_so_may_the_evaluations() -> None:
    assert split_metric("heldout.loss", ["heldout"]) == ("heldout", "loss")
    assert split_metric("general.gsm8k.acc", ["general"]) == ("general", "gsm8k.acc")
    assert split_metric("general.v2.gsm8k.acc", ["general", "general.v2"]) == ("general.v2", "gsm8k.acc")
    assert split_metric("general.*", ["general"]) == ("general", "*")


def test_a_metric_of_an_unknown_evaluation_is_still_told_apart() -> None:
    assert split_metric("heldot.loss", ["heldout"]) == ("heldot", "loss")


def test_what_was_measured_says_its_own_columns(tmp_path: Path) -> None:
    columns = {"total": "t", "per": "n", "better": "higher", "scale": "identity"}
    write_json(tmp_path / "facts.json", {"columns": {"gsm8k.acc": columns}})
    measured = Artifact("0" * 64, tmp_path)
    assert metric_of("perplexity", measured, "gsm8k.acc") == Metric("gsm8k.acc", "t", "n", "higher")
    assert metric_of("perplexity", measured, "loss") == Metric("loss", "nll", "tokens", "lower")


def test_names_are_those_of_any_subject() -> None:
    asked = evaluation(EvaluatorSpec(evaluator="perplexity"))
    assert asked is not None
    assert {"loss", "kl", "runtime_gap"} <= set(asked.names())
    assert "kl" not in [metric.name for metric in asked.metrics("merged")]
