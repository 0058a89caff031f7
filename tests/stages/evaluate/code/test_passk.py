"""pass@k against its definition: all ways to draw k of n programs."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import pytest

from variantforge.stages.evaluate.code.passk import pass_at_k


@pytest.mark.parametrize("samples", range(1, 8))
def test_it_is_the_share_of_draws_that_hold_a_right_one(samples: int) -> None:
    for right in range(samples + 1):
        for k in range(1, samples + 1):
            draws = list(combinations([True] * right + [False] * (samples - right), k))
            assert pass_at_k(samples, right, k) == pytest.approx(float(Fraction(sum(map(any, draws)), len(draws))))


def test_figures_from_the_paper_and_large_numbers() -> None:
    assert pass_at_k(200, 0, 100) == 0.0
    assert pass_at_k(200, 101, 100) == 1.0
    assert pass_at_k(200, 2, 1) == pytest.approx(0.01)
    assert pass_at_k(200, 1, 100) == pytest.approx(0.5)


@pytest.mark.parametrize(("samples", "right", "k"), [(1, 0, 2), (1, 2, 1), (3, 1, 0), (3, -1, 1)])
def test_what_cannot_be_is_refused(samples: int, right: int, k: int) -> None:
    with pytest.raises(ValueError, match="no pass@"):
        pass_at_k(samples, right, k)
