"""Speed is measured of real runs: the right counts, times that add up, and no figure where a run was cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from variantforge.errors import EvaluateError, Interrupted
from variantforge.stages.evaluate.metric import read_examples
from variantforge.stages.evaluate.speed.runs import forget_peak, resident_peak
from variantforge.stages.evaluate.stage import STAGE
from variantforge.step import Artifact, Step

METRICS = {"load_s", "memory_gb", "first_token_s", "prompt_tokens_per_s", "tokens_per_s"}


def measure(root: Path, model: Artifact, **params: Any) -> Artifact:
    context = {name: params.pop(name) for name in ("emit", "stopping") if name in params}
    step = Step("evaluate", 1, "speed", params, {"model": model.key})
    return do_step(STAGE, step, root / "run", {"model": model}, **context)


def check(told: Artifact, repeats: int, prompt: int, tokens: int) -> None:
    rows = read_examples(told)
    assert len(rows) == repeats
    assert all((row["prompt_tokens"], row["rest_tokens"]) == (prompt, tokens - 1) for row in rows)
    assert all(row["first_token_s"] > 0 and row["rest_s"] > 0 for row in rows)
    metrics = told.facts["metrics"]
    assert set(metrics) == METRICS
    written, took = sum(row["rest_tokens"] for row in rows), sum(row["rest_s"] for row in rows)
    assert metrics["tokens_per_s"]["value"] == pytest.approx(written / took)
    assert metrics["load_s"]["n"] == 1
    assert 0.01 < metrics["memory_gb"]["value"] < 20
    assert {"system", "processor", "cores"} <= told.facts["machine"].keys()


def test_a_folder_is_timed_by_the_token(tmp_path: Path, base: Artifact) -> None:
    told = measure(tmp_path, base, prompt_tokens=40, new_tokens=6, repeats=3)
    check(told, 3, 40, 6)
    assert told.facts["runtime"].startswith("transformers ")


def test_a_gguf_file_is_timed_by_llama_cpp(tmp_path: Path, gguf: Artifact) -> None:
    told = measure(tmp_path, gguf, prompt_tokens=40, new_tokens=6, repeats=2)
    check(told, 2, 40, 6)
    assert told.facts["runtime"].startswith("llama.cpp, xllamacpp ")


def test_a_run_that_was_cut_is_no_figure(tmp_path: Path, gguf: Artifact) -> None:
    with pytest.raises(EvaluateError):
        measure(tmp_path, gguf, prompt_tokens=1000, new_tokens=100, repeats=1)  # the model reads 1,024


def test_a_stop_is_heard_between_runs(tmp_path: Path, base: Artifact) -> None:
    with pytest.raises(Interrupted):
        measure(tmp_path, base, prompt_tokens=8, new_tokens=2, stopping=lambda: True)


def test_a_busy_machine_is_told(tmp_path: Path, base: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    told: list[dict[str, Any]] = []
    monkeypatch.setattr(os, "getloadavg", lambda: (64.0, 0.0, 0.0))
    made = measure(tmp_path, base, prompt_tokens=8, new_tokens=2, repeats=1, emit=told.append)
    assert any("the machine was busy" in event.get("text", "") for event in told)
    assert made.facts["busy"].startswith("load 64.0 on ")


def test_a_peak_that_was_forgotten_is_counted_anew() -> None:
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    high = resident_peak()
    del held
    assert forget_peak()
    now = resident_peak()
    assert high
    assert now
    assert now < high - 100_000_000


def test_memory_that_no_system_tells_of_is_left_out(
    tmp_path: Path, base: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from variantforge.stages.evaluate.speed import folder

    monkeypatch.setattr(folder, "forget_peak", lambda: False)
    told = measure(tmp_path, base, prompt_tokens=8, new_tokens=2, repeats=1)
    assert set(told.facts["metrics"]) == METRICS - {"memory_gb"}
    assert resident_peak("no process") is None
