"""The memory of formats: bounds that hold for what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from variantforge.plan.estimate.quantizing import ALONE, HELD, Held, Sizes

MEASURED = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "quantize_memory.json").read_text())
_VOCABULARY = 49_152  # of the benchmark's models; the embeddings are their largest tensor


@pytest.mark.parametrize("title", MEASURED)
def test_no_format_took_more_than_it_is_thought_to(title: str) -> None:
    measured = MEASURED[title]
    sizes = Sizes(
        file=round(measured["largest_file_mb"] * 1e6),
        tensor=4 * _VOCABULARY * measured["hidden"],
        model=round(measured["model_mb"] * 1e6),
    )
    found = {name: figures["peak_mb"] * 1e6 for name, figures in measured["steps"].items()}
    thought = {name: _held(name).peak_bytes(sizes) for name in found if _is_bounded(*name.split(":"))}
    assert thought
    assert {name for name in thought if found[name] > thought[name]} == set()


def _is_bounded(method: str, type: str = "") -> bool:
    return method in HELD and type not in ALONE


def _held(name: str) -> Held:
    return HELD.get(name) or HELD[name.partition(":")[0]]
