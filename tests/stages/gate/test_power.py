"""What a gate can see, by formula, beside what its own verdicts do over all outcomes; and the table of the docs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.stages.evaluate.test_proportions import outcomes
from variantforge.stages.evaluate.proportions import less_than, more_than
from variantforge.stages.gate.power import assumed_flips, chance, paired_error, share_error, sight

DOCS = Path(__file__).parents[3] / "docs" / "gates.md"
SIZES = (100, 164, 500)
DROPS = (0.02, 0.03, 0.05, 0.10)


@cache
def _flipped(n: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]:
    """Outcomes that happen: up to half of the items flip."""
    gained, lost, ways = outcomes(n)
    few = gained + lost <= n // 2
    return tuple(gained[few].tolist()), tuple(lost[few].tolist()), tuple(ways[few].tolist())


def likelihoods(n: int, drop: float) -> np.ndarray:
    """How likely each outcome is where ``drop`` is lost and items flip as assumed."""
    flips = assumed_flips(drop)
    gain, loss = (flips - drop) / 2, (flips + drop) / 2
    gained, lost, ways = (np.array(column) for column in _flipped(n))
    logs = ways + gained * np.log(gain) + lost * np.log(loss) + (n - gained - lost) * np.log1p(-flips)
    return np.exp(logs)


@cache
def called(n: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes that are called ``fail``, and those that pass, with this margin."""
    gained, lost, _ = _flipped(n)
    pairs = list(zip(gained, lost, strict=True))
    fails = [less_than(-margin, g, m, n) <= 0.05 for g, m in pairs]
    passes = [more_than(-margin, g, m, n) <= 0.05 for g, m in pairs]
    return np.array(fails), np.array(passes)


def fails(n: int, drop: float, margin: float = 0.0) -> float:
    return float(likelihoods(n, drop)[called(n, margin)[0]].sum())


def passes(n: int, drop: float, margin: float) -> float:
    return float(likelihoods(n, drop)[called(n, margin)[1]].sum())


@pytest.mark.parametrize("n", [100, 164])
def test_formulas_are_near_the_exact_figures(n: int) -> None:
    for drop in DROPS:
        assert chance(drop, 0.0, paired_error(n, drop), 1 / n) == pytest.approx(fails(n, drop), abs=0.05)
    for margin in (0.05, 0.1):
        seen = sight(n, margin, paired_error_of(n), 1 / n)
        assert seen.equal_passes == pytest.approx(passes(n, 0.0, margin), abs=0.1)
        assert 0.75 < fails(n, seen.sees, margin) < 0.88
        assert 0.65 < passes(n, 0.0, seen.proves) < 0.90


def paired_error_of(n: int):  # type: ignore[no-untyped-def]
    return lambda drop: paired_error(n, drop)


def test_more_items_see_smaller_drops_and_prove_smaller_margins() -> None:
    seen = [sight(n, 0.02, paired_error_of(n)) for n in (100, 500, 2000)]
    assert [round(one.sees, 3) for one in seen] == sorted((round(one.sees, 3) for one in seen), reverse=True)
    assert [one.equal_passes for one in seen] == sorted(one.equal_passes for one in seen)
    needs = seen[0].needs
    assert needs is not None
    assert sight(needs, 0.02, paired_error_of(needs), 0.0).equal_passes == pytest.approx(0.8, abs=0.005)


def test_of_a_graded_metric_the_measured_spread_is_taken() -> None:
    seen = sight(200, 0.1, lambda drop: 0.02)
    assert (seen.sees, seen.proves) == (pytest.approx(0.1497, abs=1e-4), pytest.approx(0.0497, abs=1e-4))
    assert sight(200, 0.1, lambda drop: 0.0).equal_passes == 1.0
    assert share_error(100, 0.5) == 0.05


def test_flips_are_assumed_between_the_points_on_straight_lines() -> None:
    assert [assumed_flips(drop) for drop in (0.0, 0.02, 0.04, 0.05, 0.10)] == pytest.approx(
        [0.06, 0.08, 0.11, 0.12, 0.16]
    )
    assert assumed_flips(0.5) == pytest.approx(0.56)
    assert assumed_flips(3.0) == 1.0


@pytest.mark.slow
def test_the_table_of_the_docs_is_worked_out_from_the_gates_own_verdicts() -> None:
    rows = []
    for n in SIZES:
        cells = [f"{fails(n, drop):.2f}" for drop in DROPS]
        margins = [f"{passes(n, 0.0, margin):.2f}" for margin in (0.02, 0.05, 0.10)]
        rows.append(" | ".join([f"| {n}", *cells, *margins]) + " |")
    written = re.search(r"<!-- power -->\n(.*?)\n<!-- end of power -->", DOCS.read_text(), re.DOTALL)
    assert written is not None
    assert written[1].splitlines()[2:] == rows, "\n".join(rows)


def test_a_true_drop_of_five_points_is_seen_at_five_hundred_items() -> None:
    """Promised: at least 90 times of 100."""
    assert chance(0.05, 0.0, paired_error(500, 0.05), 1 / 500) >= 0.9
