"""Bounds of shares, alone and in pairs: figures of the literature, and how often they hold, over all outcomes."""

from __future__ import annotations

from math import comb, lgamma
from typing import Any

import numpy as np
import pytest

from variantforge.stages.evaluate.proportions import (
    at_least,
    difference_bounds,
    less_than,
    mcnemar,
    more_than,
    share_bounds,
)


def test_the_tail_of_a_binomial_is_the_sum_of_its_terms():
    for n, p in ((7, 0.2), (40, 0.5), (300, 0.93)):
        terms = [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
        for k in (0, 1, n // 2, n - 1, n):
            assert at_least(k, n, p) == pytest.approx(sum(terms[k:]), rel=1e-9)
    assert at_least(3, 2, 0.5) == 0.0


def test_no_failure_among_a_hundred_leaves_room_for_three_in_a_hundred():
    low, high = share_bounds(0, 100, 0.05)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.05 ** (1 / 100))
    assert high == pytest.approx(3 / 100, rel=0.02)
    assert share_bounds(100, 100, 0.05) == (pytest.approx(1 - high), 1.0)


def test_clopper_and_pearsons_bounds_are_those_of_tables():
    assert share_bounds(7, 10, 0.025) == (pytest.approx(0.3475, abs=1e-4), pytest.approx(0.9333, abs=1e-4))
    assert share_bounds(81, 263, 0.025) == (pytest.approx(0.2527, abs=1e-4), pytest.approx(0.3676, abs=1e-4))


def test_mcnemars_test_is_that_of_a_coin():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(1 / 32)
    assert mcnemar(10, 4) == pytest.approx(0.08978, abs=1e-5)


def test_bounds_and_p_values_say_the_same():
    for gains, losses, n in ((12, 40, 500), (3, 1, 30), (0, 0, 64), (25, 10, 100), (0, 9, 20)):
        low, high = difference_bounds(gains, losses, n, 0.05)
        if low != 0.0:
            assert more_than(low, gains, losses, n) == pytest.approx(0.05, abs=1e-6)
        if high != 0.0:
            assert less_than(high, gains, losses, n) == pytest.approx(0.05, abs=1e-6)
        assert low <= (gains - losses) / n <= high


def test_a_bound_leaves_zero_only_where_mcnemars_exact_test_does():
    for n in (8, 20, 50):
        for gains in range(9):
            for losses in range(9 - gains):
                low, high = difference_bounds(gains, losses, n, 0.05)
                assert (low > 0) <= (mcnemar(gains, losses) <= 0.05)
                assert (high < 0) <= (mcnemar(losses, gains) <= 0.05)


def test_the_better_the_counts_the_higher_both_bounds():
    bounds = [difference_bounds(gains, 12 - gains, 200, 0.05) for gains in range(13)]
    assert bounds == sorted(bounds)


# --- how often a bound fails, by all outcomes ---------------------------------------------------------------------

CLAIMS = (-0.1, -0.05, -0.02, -0.01, 0.0, 0.02, 0.05)
FLIPS = (0.01, 0.02, 0.04, 0.08, 0.12, 0.2, 0.5, 0.8)


def outcomes(n: int) -> tuple[Any, Any, Any]:
    """All (gained, lost) of ``n`` items, and the logarithms of how many ways there are to each."""
    gained, lost = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    gained, lost = gained[gained + lost <= n], lost[gained + lost <= n]
    log = np.array([lgamma(i + 1) for i in range(n + 1)])
    return gained, lost, log[n] - log[gained] - log[lost] - log[n - gained - lost]


def wrong_proofs(n: int, difference: float, most_flips: int) -> dict[float, float]:
    """Share of flips -> how often "more than ``difference``" is proven although it is exactly that much."""
    gained, lost, ways = outcomes(n)
    few = gained + lost <= most_flips  # what lies beyond is too rare to count
    gained, lost, ways = gained[few], lost[few], ways[few]
    proven = np.array([more_than(difference, int(g), int(m), n) <= 0.05 for g, m in zip(gained, lost, strict=True)])
    found = {}
    for flips in FLIPS:
        gain, loss = (flips + difference) / 2, (flips - difference) / 2
        if gain >= 0 and loss >= 0 and (most_flips == n or flips * n * 2 < most_flips):
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = ways + np.nan_to_num(gained * np.log(gain), nan=0.0, neginf=-1e9)
                logs = logs + np.nan_to_num(lost * np.log(loss), nan=0.0, neginf=-1e9)
                logs = logs + (n - gained - lost) * np.log1p(-flips)
            found[flips] = float(np.exp(logs)[proven].sum())
    assert found or abs(difference) > max(FLIPS)
    return found


@pytest.mark.parametrize(("n", "most_flips"), [(10, 10), (30, 30), (100, 100), (164, 164), (200, 80)])
def test_a_bound_of_a_paired_difference_fails_about_as_rarely_as_it_says(n: int, most_flips: int):
    worst = max(max(wrong_proofs(n, claim, most_flips).values()) for claim in CLAIMS)
    assert 0.03 < worst <= 0.055
