"""``vf plan`` of a family whose rewards are code of the user's: it says so before anything of it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.stages.train.small_words import small_model

FAMILY = """
family: graded
base: {model: ./base, license: apache-2.0}
datasets: {asked: {path: ./asked.jsonl, format: prompt_only, license: mit}}
defaults: {train: {method: grpo}}
variants:
  mine:
    kind: domain
    data: {mix: {asked: 1.0}}
    train: {rewards: [{reward: exact_answer}, {reward: python, function: "./mine.py:short", weight: 0.1}]}
"""


@pytest.fixture
def family(tmp_path: Path) -> Path:
    small_model(tmp_path / "base")
    (tmp_path / "asked.jsonl").write_text('{"prompt": "2 + 2?", "answer": "4"}\n')
    (tmp_path / "mine.py").write_text("raise SystemExit('planning runs nothing')\n\ndef short(**columns): ...\n")
    (tmp_path / "family.yaml").write_text(FAMILY)
    return tmp_path


def test_a_plan_names_code_that_it_will_run_and_runs_none(vf: Vf, family: Path) -> None:
    ended = vf("plan")
    assert ended.code == 0, ended.err
    assert "runs code of yours: ./mine.py:short in train mine\n" in ended.out
    before = ended.out
    (family / "mine.py").write_text("def short(**columns): return [1.0]\n")
    assert vf("plan").out == before
    (family / "mine.py").unlink()
    refused = vf("plan")
    assert refused.code == 2
    assert "train.rewards[1].function  there is no file ./mine.py" in refused.err
