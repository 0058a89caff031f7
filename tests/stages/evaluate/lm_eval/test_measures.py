"""What is summed over items is what the harness makes of them, for groups of tasks too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from variantforge.errors import EvaluateError
from variantforge.stages.evaluate.lm_eval.leaves import Leaf
from variantforge.stages.evaluate.lm_eval.measures import Scored, count_of, pooled_in, scored_in
from variantforge.stages.evaluate.lm_eval.measuring import rows_of
from variantforge.stages.evaluate.lm_eval.tasks import Suite

ACC = {"output_type": "multiple_choice", "metric_list": [{"metric": "acc"}]}
SIZES = {"one": 4, "two": 10, "three": 1}


def samples(task: str) -> list[dict[str, Any]]:
    return [
        {"doc_id": number, "doc_hash": f"{task}{number}", "filter": "none", "resps": [], "acc": float(number % 3 == 0)}
        for number in range(SIZES[task])
    ]


def suite_of(**group: Any) -> Suite:
    leaves = {task: Leaf(task, "all", {**ACC, "task": task}, Path(f"{task}.yaml"), ()) for task in SIZES}
    listed = [{"metric": "acc", **group}]
    pooled = pooled_in("all", {"aggregate_metric_list": listed}, [leaf.scored for leaf in leaves.values()])
    return Suite(leaves, pooled=pooled)


@pytest.mark.parametrize("by_size", [True, False])
def test_a_groups_figure_is_the_harnesss(by_size: bool) -> None:
    from lm_eval.api.metrics import aggregate_subtask_metrics

    suite = suite_of(weight_by_size=by_size)
    rows = rows_of(suite, {task: samples(task) for task in SIZES})
    ours = sum(row["all"] for row in rows) / sum(row[count_of("all")] for row in rows)
    means = [sum(one["acc"] for one in samples(task)) / SIZES[task] for task in SIZES]
    assert ours == pytest.approx(aggregate_subtask_metrics(means, list(SIZES.values()), by_size))
    assert [metric.name for metric in suite.metrics] == ["all"]


def test_an_item_that_a_metric_does_not_judge_does_not_count() -> None:
    suite = Suite({"one": Leaf("one", "one", ACC, Path("one.yaml"), ())}, scored=scored_in("one", ACC))
    told = samples("one")
    del told[2]["acc"]
    rows = rows_of(suite, {"one": told})
    assert [count_of("one") in row for row in rows] == [True, True, False, True]


@pytest.mark.parametrize("value", [float("nan"), "right", [1, 2], None])
def test_what_is_no_number_names_its_item(value: Any) -> None:
    suite = Suite({"one": Leaf("one", "one", ACC, Path("one.yaml"), ())}, scored=scored_in("one", ACC))
    told = samples("one")
    told[1]["acc"] = value
    with pytest.raises(EvaluateError, match="acc of item one/1"):
        rows_of(suite, {"one": told})


def sums(how: str, value: Any) -> tuple[float, float] | None:
    return Scored("t", "m", "none", how, None, "t").sums(value)


def test_every_way_to_aggregate_is_a_ratio_of_sums() -> None:
    assert sums("mean", True) == (1, 1)
    assert sums("perplexity", -2.5) == (2.5, 1)
    assert sums("weighted_perplexity", (-6.0, 3)) == (6, 3)
    assert sums("bits_per_byte", (-math.log(2), 8)) == (pytest.approx(1), 8)
    assert sums("brier_score", (1, [0.25, 0.75])) == (pytest.approx(0.125), 1)
    assert sums("flattened", [True, False, True]) == (2, 3)
    assert sums("nanmean", float("nan")) is None
