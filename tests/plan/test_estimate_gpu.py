"""Predicted against measured on a CUDA device: what torch's allocator handed out at most."""

from __future__ import annotations

import importlib.util

import pytest
from benchmarks.memory import CASES, measured, predict

from variantforge.plan.estimate.machine import this_machine

_HAS_CARD = importlib.util.find_spec("torch") is not None and this_machine().device == "cuda"


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not _HAS_CARD, reason="needs a CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_the_allocators_peak_is_predicted_within_a_tenth(name: str) -> None:
    machine = this_machine()
    peak = measured(CASES[name])["tensors"]
    assert predict(CASES[name], machine).tensors == pytest.approx(peak, rel=0.1)
