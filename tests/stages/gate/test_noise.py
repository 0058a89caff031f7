"""How far two measurements of one file lie apart."""

from __future__ import annotations

from typing import Any

import pytest

from variantforge.stages.evaluate.again import AGAIN, batch_limit, in_other_batches
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.gate.noise import floor_of
from variantforge.step import Step, StepContext

RIGHT = Metric("pass@1", "right", "items", "higher")
PERPLEXITY = Metric("perplexity", "nll", "tokens", "lower", scale="exp")


def answers(right: list[int]) -> list[dict[str, Any]]:
    return [{"id": str(i), "right": hit, "items": 1} for i, hit in enumerate(right)]


def test_equal_measurements_have_no_noise() -> None:
    assert floor_of(RIGHT, answers([1, 0] * 20), answers([1, 0] * 20)) == 0.0


def test_answers_that_flip_both_ways_are_noise_although_the_share_stays() -> None:
    first, second = answers([1, 0] * 50), answers([0, 1, *[1, 0] * 49])
    assert floor_of(RIGHT, first, second) == pytest.approx(1.645 * 2**0.5 / 100, rel=1e-3)


def test_the_distance_counts_where_it_is_larger() -> None:
    rows = [[{"id": str(i), "nll": nll, "tokens": 1} for i in range(50)] for nll in (1.0, 1.1)]
    assert floor_of(PERPLEXITY, *rows) == pytest.approx(2.71828**1.1 - 2.71828, rel=1e-4)


def test_only_a_second_measurement_has_smaller_batches_and_its_evaluator_does_not_see_the_mark(tmp_path: Any) -> None:
    def context(params: dict[str, Any]) -> StepContext:
        return StepContext(Step("evaluate", 1, "perplexity", params), {}, tmp_path, tmp_path)

    assert batch_limit(30) == 30
    with in_other_batches(context({"dtype": "float32"})):
        assert batch_limit(30) == 30
    with in_other_batches(context({"dtype": "float32", AGAIN: True})) as asked:
        assert (batch_limit(30), batch_limit(2)) == (10, 1)
        assert asked.step.params == {"dtype": "float32"}
    assert batch_limit(30) == 30
