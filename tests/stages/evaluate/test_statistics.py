"""Bounds that hold as often as they say, and comparisons that are made in pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variantforge.stages.evaluate.bootstrap import resampled_sums, widened_tail
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.evaluate.statistics import (
    Evidence,
    NothingToCount,
    gain,
    gained,
    interval,
    measured,
)

LOSS = Metric("loss", "nll", "tokens", "lower")
PERPLEXITY = Metric("perplexity", "nll", "tokens", "lower", scale="exp")
ACCURACY = Metric("accuracy", "right", "tokens", "higher")

Rows = list[dict[str, object]]


def rows(nlls: list[float], tokens: list[int] | None = None, column: str = "nll") -> Rows:
    counts = tokens or [1] * len(nlls)
    return [{"id": str(i), column: nll, "tokens": n} for i, (nll, n) in enumerate(zip(nlls, counts, strict=True))]


def synthetic(random: np.random.Generator, n: int, effect: float = 0.0) -> tuple[Rows, Rows]:
    """Two models on the same ``n`` examples: skewed difficulties, uneven lengths, the second better by ``effect``."""
    lengths = random.integers(5, 120, n)
    hard = random.gamma(4.0, 0.5, n)
    sides = [hard + shift + random.normal(0, 0.15, n) for shift in (effect, 0.0)]
    return tuple(rows(list(side * lengths), [int(length) for length in lengths]) for side in sides)  # type: ignore[return-value]


def test_a_long_example_weighs_as_many_tokens_as_it_has():
    assert interval(LOSS, rows([10.0, 90.0], [10, 30])).value == pytest.approx(2.5)


def test_perplexity_is_the_exponential_of_the_loss_and_so_are_its_bounds():
    examples = rows([1.0, 2.0, 4.0, 3.0, 2.5, 2.2])
    loss, perplexity = interval(LOSS, examples), interval(PERPLEXITY, examples)
    assert perplexity.value == pytest.approx(math.exp(loss.value))
    assert perplexity.low == pytest.approx(math.exp(loss.low or 0), rel=1e-3)  # percentiles between two resamples
    assert perplexity.high == pytest.approx(math.exp(loss.high or 0), rel=1e-3)


def test_the_interval_of_a_mean_is_about_students():
    values = list(np.random.default_rng(1).normal(3.0, 1.0, 40))
    found = interval(LOSS, rows(values))
    half = 2.0227 * np.std(values, ddof=1) / math.sqrt(40)  # Student's t with 39 degrees of freedom
    assert found.low == pytest.approx(np.mean(values) - half, abs=0.05 * half)
    assert found.high == pytest.approx(np.mean(values) + half, abs=0.05 * half)


def test_students_correction_leaves_out_less_with_few_examples():
    assert widened_tail(0.05, 10_000) == pytest.approx(0.05, abs=1e-4)
    assert widened_tail(0.05, 20) == pytest.approx(0.0380, abs=5e-4)  # Hesterberg 2015, t table: t(19) = 1.729
    assert widened_tail(0.025, 8) == pytest.approx(0.00574, abs=1e-4)  # t(7) = 2.365


def test_a_smaller_loss_is_a_gain_and_so_is_a_larger_accuracy():
    low, high = rows([1.0, 1.1, 0.9]), rows([2.0, 2.1, 1.9])
    assert gain(LOSS, low, high).value == pytest.approx(1.0)
    assert gain(LOSS, high, low).value == pytest.approx(-1.0)
    few, many = rows([0.0, 0.0, 1.0], column="right"), rows([1.0, 1.0, 1.0], column="right")
    assert gain(ACCURACY, many, few).value == pytest.approx(2 / 3)


def test_a_comparison_in_pairs_sees_what_the_spread_of_examples_would_hide():
    hard = np.random.default_rng(2).gamma(2.0, 1.0, 60)
    subject, base = rows(list(hard - 0.05)), rows(list(hard))
    assert interval(LOSS, subject).high > interval(LOSS, base).low  # side by side, they overlap widely
    found = gain(LOSS, subject, base)
    assert (found.low, found.high) == (pytest.approx(0.05), pytest.approx(0.05))


def test_equal_models_are_told_apart_no_more_often_than_the_level_allows():
    random = np.random.default_rng(3)
    for n in (12, 40):
        alarms = sum((gain(LOSS, *synthetic(random, n)).low or 0) > 0 for _ in range(300))
        assert alarms / 300 <= 0.05 + 0.02, f"{alarms} false alarms of 300 with {n} examples"


def test_the_interval_holds_the_true_value_about_as_often_as_it_says():
    random = np.random.default_rng(4)
    held = 0
    for _ in range(300):
        found = interval(LOSS, rows(list(random.gamma(4.0, 0.5, 30))))
        held += (found.low or 9) <= 2.0 <= (found.high or 0)
    assert 0.92 <= held / 300 <= 0.98


def test_a_true_effect_is_found():
    random = np.random.default_rng(5)
    found = sum((gain(LOSS, *reversed(synthetic(random, 40, effect=0.15))).low or 0) > 0 for _ in range(100))
    assert found >= 90


def test_of_one_example_no_bounds_are_known():
    assert interval(LOSS, rows([2.0])) == (2.0, None, None, 1)
    assert gain(LOSS, rows([2.0]), rows([3.0])) == (1.0, None, None, 1)


def test_equal_examples_have_no_spread():
    assert measured(LOSS, rows([2.0] * 9)).interval == (2.0, 2.0, 2.0, 9)


def test_examples_without_tokens_are_not_counted():
    assert interval(LOSS, rows([2.0, 0.0, 4.0], [1, 0, 1])).n == 2
    with pytest.raises(NothingToCount):
        interval(LOSS, rows([0.0, 0.0], [0, 0]))
    with pytest.raises(NothingToCount):
        interval(LOSS, [])


def test_rows_of_another_metric_are_no_other_examples():
    ours, theirs = rows([2.0] * 9), rows([3.0] * 9)
    assert gain(LOSS, [{"id": "of a tokenizer", "strings": 50}, *ours], theirs) == gain(LOSS, ours, theirs)


def test_other_examples_are_not_compared():
    with pytest.raises(ValueError, match="same examples"):
        gain(LOSS, rows([1.0, 2.0]), rows([1.0]))


def test_equal_examples_give_equal_bounds_every_time():
    examples = rows([1.0, 3.0, 2.0, 5.0])
    assert interval(LOSS, examples) == interval(LOSS, examples)


def test_resampling_in_parts_draws_the_same_share_of_every_example():
    sums = resampled_sums(np.eye(3), resamples=600_000)  # more draws than are held in memory at once
    assert sums.sum(axis=1) == pytest.approx(3.0)
    assert sums.mean(axis=0) == pytest.approx([1.0, 1.0, 1.0], abs=0.01)


values = st.lists(st.floats(0.0, 30.0).map(lambda x: round(x, 3)), min_size=2, max_size=30)


@settings(max_examples=25, deadline=None)
@given(values)
def test_bounds_lie_around_the_value(nlls: list[float]):
    for metric in (LOSS, PERPLEXITY):
        found = interval(metric, rows(nlls))
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high


@settings(max_examples=25, deadline=None)
@given(values, st.sampled_from([0.25, 2.0, 8.0]))
def test_bounds_scale_with_the_values(nlls: list[float], factor: float):
    tokens = [2] * len(nlls)  # of one token each, rows of zeros and ones would be shares
    plain, scaled = (interval(LOSS, rows(values, tokens)) for values in (nlls, [factor * nll for nll in nlls]))
    assert scaled[:3] == pytest.approx([factor * (bound or 0) for bound in plain[:3]])


# --- right or wrong, and clusters ---------------------------------------------------------------------------------


def answers(right: list[int], source: str = "") -> Rows:
    return [{"id": str(i), "right": hit, "tokens": 1, "source": source} for i, hit in enumerate(right)]


def test_answers_that_are_right_or_wrong_have_exact_bounds_at_any_number():
    found = interval(ACCURACY, answers([1] * 7 + [0] * 3))
    assert (found.low, found.high) == (pytest.approx(0.3475, abs=1e-4), pytest.approx(0.9333, abs=1e-4))
    evidence = measured(ACCURACY, answers([1] * 100))
    assert evidence.interval[1:3] == (pytest.approx(0.9705, abs=1e-4), 1.0)
    assert evidence.method == "Clopper-Pearson"
    assert evidence.p_less(0.99) == 1.0
    assert evidence.p_more(0.5) < 1e-20


def test_two_on_the_same_questions_are_compared_by_what_flipped():
    ours, theirs = answers([1] * 60 + [0] * 40), answers([1] * 70 + [0] * 30)
    evidence = gained(ACCURACY, ours, theirs)
    assert evidence.interval.value == -0.1
    assert evidence.p_less(0.0) == pytest.approx(2**-10)
    assert evidence.method == "exact McNemar and score bounds (0 gained, 10 lost)"
    errors = Metric("error", "right", "tokens", "lower")
    assert gained(errors, ours, theirs).interval.value == 0.1


def test_items_of_one_source_rise_and_fall_together_so_sources_are_drawn():
    random = np.random.default_rng(7)
    shifts = random.normal(0, 0.5, 20)
    values = [float(shifts[i // 10] + random.normal(0, 0.05)) for i in range(200)]
    alone, clustered = rows(values), [{**row, "source": f"s{i // 10}"} for i, row in enumerate(rows(values))]
    naive, honest = measured(LOSS, alone), measured(LOSS, clustered)
    assert honest.interval.value == naive.interval.value
    assert honest.interval.n == naive.interval.n == 200
    assert (honest.method, honest.units) == ("bootstrap over 20 sources", 20)
    assert (naive.method, naive.units) == ("bootstrap over 200 examples", 200)

    def width(evidence: Evidence) -> float:
        return (evidence.interval.high or 0) - (evidence.interval.low or 0)

    assert width(honest) > 2.5 * width(naive)


def test_a_cluster_of_its_own_goes_before_the_source_and_few_sources_are_a_mix():
    plain = rows([1.0, 2.0] * 20)
    assert measured(LOSS, [{**row, "source": f"s{i % 7}"} for i, row in enumerate(plain)]).units == 40
    assert measured(LOSS, [{**row, "source": f"s{i % 8}"} for i, row in enumerate(plain)]).units == 8
    told = [{**row, "source": "one", "cluster": f"c{i % 10}"} for i, row in enumerate(plain)]
    assert measured(LOSS, told).units == 10
    right = [{**row, "cluster": f"c{i % 10}"} for i, row in enumerate(answers([1, 0] * 20))]
    assert gained(ACCURACY, right, right).method == "bootstrap of pairs over 10 sources"


def clustered(right: list[int]) -> Rows:
    return [{**row, "cluster": f"c{at % 10}"} for at, row in enumerate(answers(right))]


def test_clusters_that_do_not_differ_are_no_surer_than_their_items():
    """Draws of ten topics, all right, are all right; what thirty answers prove is that at most a tenth is wrong."""
    alone, drawn = measured(ACCURACY, answers([1] * 30)), measured(ACCURACY, clustered([1] * 30))
    assert drawn.method == "bootstrap over 10 sources"
    assert drawn.interval == alone.interval
    assert drawn.interval.low == pytest.approx(0.905, abs=1e-3)
    assert drawn.p_less(0.99) == alone.p_less(0.99) == 1.0
    assert drawn.p_more(0.95) == alone.p_more(0.95) > 0.05
    both = clustered([1, 0, 1] * 10)
    paired = gained(ACCURACY, both, both)
    assert paired.interval == gained(ACCURACY, answers([1, 0, 1] * 10), answers([1, 0, 1] * 10)).interval
    assert (paired.interval.low or 0) < -0.05
    assert paired.p_more(-0.01) > 0.05


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=20, max_size=40))
def test_drawn_by_cluster_nothing_is_surer_than_item_by_item(right: list[int]):
    alone, drawn = measured(ACCURACY, answers(right)).interval, measured(ACCURACY, clustered(right)).interval
    assert (drawn.low or 0) <= (alone.low or 0)
    assert (drawn.high or 1) >= (alone.high or 1)


def test_p_values_and_bounds_of_a_bootstrap_say_the_same():
    evidence = measured(LOSS, rows(list(np.random.default_rng(8).normal(3.0, 1.0, 25))))
    assert evidence.p_more(evidence.interval.low or 0) == pytest.approx(0.05, rel=0.03)
    assert evidence.p_less(evidence.interval.high or 0) == pytest.approx(0.05, rel=0.03)
    assert evidence.p_more(evidence.interval.value) == pytest.approx(0.5, abs=0.05)
    assert measured(LOSS, rows([2.0])).p_more(0.0) == 1.0
