"""Many refutations beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variantforge.stages.gate.family import judge_release
from variantforge.stages.gate.holm import adjusted
from variantforge.step import FACTS, Artifact


def test_holms_figures() -> None:
    assert adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted([]) == []
    assert adjusted([0.2]) == [0.2]
    assert adjusted([0.9, 0.9]) == [1.0, 1.0]


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(p_values)
def test_correction_keeps_the_order_and_lies_between_none_and_bonferronis(ps: list[float]) -> None:
    corrected = adjusted(ps)
    for p, q in zip(ps, corrected, strict=True):
        assert p <= q <= min(1.0, len(ps) * p) + 1e-12
    assert [q for _, q in sorted(zip(ps, corrected, strict=True))] == sorted(corrected)


@given(p_values, st.randoms())
def test_the_order_of_gates_does_not_matter(ps: list[float], random: Any) -> None:
    places = list(range(len(ps)))
    random.shuffle(places)
    assert adjusted([ps[place] for place in places]) == pytest.approx([adjusted(ps)[place] for place in places])


def gate(root: Path, name: str, *verdicts: tuple[str, float]) -> Artifact:
    folder = root / name
    folder.mkdir()
    rows = [{"metric": "heldout.loss", "verdict": verdict, "p": p, "why": ""} for verdict, p in verdicts]
    (folder / FACTS).write_text(json.dumps({"verdicts": rows}))
    return Artifact(name, folder)


def test_what_is_refuted_alone_but_not_among_all_wants_more_data(tmp_path: Path) -> None:
    facts = judge_release(
        {
            "code:merged": gate(tmp_path, "a", ("fail", 0.03), ("pass", 0.9), ("not enough data", 0.2)),
            "law:gguf:Q8_0": gate(tmp_path, "b", ("fail", 0.0001), ("pass", 1.0)),
        }
    )
    assert [row["verdict"] for row in facts["verdicts"]] == [
        "not enough data",
        "pass",
        "not enough data",
        "fail",
        "pass",
    ]
    assert [row["alone"] for row in facts["verdicts"]] == ["fail", "pass", "not enough data", "fail", "pass"]
    assert facts["verdicts"][3]["p_holm"] == pytest.approx(0.0005)
    assert (facts["verdicts"][3]["variant"], facts["verdicts"][3]["subject"]) == ("law", "gguf:Q8_0")
    assert facts["outcomes"] == {"pass": 2, "fail": 1, "not enough data": 2}
    assert (facts["gates"], facts["level"]) == (5, 0.05)


def test_a_single_gate_needs_no_correction(tmp_path: Path) -> None:
    facts = judge_release({"code:merged": gate(tmp_path, "a", ("fail", 0.05))})
    assert facts["verdicts"][0]["verdict"] == "fail"
