"""What ``vf plan`` and ``vf apply`` say of rows that a teacher writes, before it is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.plan.test_asked import planned
from variantforge.store.artifacts import Store

PACE = {"requests_per_minute": 60.0, "samples": 2}


@pytest.fixture(autouse=True)
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vf: Vf) -> None:
    """A family of which a teacher writes the rows; its key is nowhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ACME_KEY", raising=False)
    teacher = {"endpoint": "https://api.example.org/v1", "model": "m-1", "license": "mit", "api_key_env": "ACME_KEY"}
    planned(tmp_path, 4, teacher=teacher, **PACE)


WHO = "m-1 at https://api.example.org/v1"
WARNING = "the environment variable ACME_KEY is not set, and data told will look there for a key"


def test_a_plan_tells_how_many_prompts_who_is_asked_and_how_long(vf: Vf) -> None:
    for _ in range(2):  # the second time from memory
        told = " ".join(vf("plan").out.split())
        assert f"teachers data told {WHO}" in told
        assert "at most 10 answers to 5 prompts (equal prompts are asked once)" in told
        assert "at 60 a minute so many take 10 s or more" in told
        assert f"warning: {WARNING}" in told


def test_json_tells_the_same(vf: Vf) -> None:
    told = json.loads(vf("plan", "--json").out)
    (one,) = told["teachers"]
    assert (one["label"], one["by"]) == ("data told", {"model": "m-1", "endpoint": "https://api.example.org/v1"})
    counts = {"prompts": 5, "samples": 2, "answers": 10, "kept": None, "to_ask": 10, "exact": False}
    assert {name: one[name] for name in counts} == counts
    assert (one["requests_per_minute"], one["seconds_at_least"]) == (60.0, 10.0)
    assert told["missing_keys"] == [WARNING]


def test_markdown_tells_the_same(vf: Vf) -> None:
    told = vf("plan", "--markdown").out
    assert "| rows a teacher writes | who | is asked |" in told
    assert "10 answers to 5 prompts" in told
    assert "**Warning:** the environment variable" in told


def test_a_key_that_is_there_is_not_missed(vf: Vf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "s3cret-and-long")
    told = vf("plan", "--json").out
    assert "missing_keys" not in json.loads(told)
    assert "s3cret" not in told


def test_apply_warns_of_the_missing_key_before_the_first_step(vf: Vf, tmp_path: Path) -> None:
    with Store(tmp_path / ".variantforge").locked():  # so that nothing is run
        ended = vf("apply")
        assert (ended.code, f"warning: {WARNING}" in ended.err) == (8, True)
        assert WARNING not in vf("apply", "--until", "base").err  # nobody is asked


def test_where_no_teacher_is_asked_nothing_is_told(vf: Vf) -> None:
    assert "teachers" not in vf("plan", "--only", "big").out
