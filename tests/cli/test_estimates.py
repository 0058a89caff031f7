"""What ``vf plan`` and ``vf apply`` say of a training that is predicted above its limit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.plan.test_estimate import CONFIG, write, write_base


def test_plan_ends_with_7_and_apply_runs_nothing_over_the_limit(vf: Vf, tmp_path: Path) -> None:
    write_base(tmp_path / "base", CONFIG)
    write(tmp_path, resources="{max_memory_gb: 0.1}")
    planned = vf("plan")
    assert planned.code == 7
    assert "activation_checkpointing: true" in planned.err
    told = json.loads(vf("plan", "--json").out)
    assert told["error"]["kind"] == "OutOfBudget"
    (one, *_) = told["estimates"]["steps"].values()
    assert one["memory_bytes"] > one["limit_bytes"]
    assert sum(one["memory_terms"].values()) == pytest.approx(one["memory_bytes"], rel=1e-6)
    applied = vf("apply")
    assert applied.code == 7
    assert not (tmp_path / ".variantforge" / "data").exists()


def test_a_plan_in_markdown_tells_what_trainings_take_and_why_they_are_refused(vf: Vf, tmp_path: Path) -> None:
    write_base(tmp_path / "base", CONFIG)
    write(tmp_path, resources="{max_memory_gb: 0.1}")
    told = vf("plan", "--markdown").out
    assert "| training | memory | time |" in told
    assert "| train " in told
    assert "will be written" in told
    assert "**Refused:**" in told
