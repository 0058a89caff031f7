"""Whole steps: everything that is measured of a subject, and that it is the same the second time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import do_step
from tests.stages.evaluate.conftest import ROWS
from tests.stages.evaluate.subjects import data_artifact
from variantforge.stages.evaluate.metric import read_examples
from variantforge.stages.evaluate.stage import STAGE
from variantforge.step import Artifact, Step

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:bitsandbytes",
    "ignore::FutureWarning:bitsandbytes",
)
DIVERGENCE = {"kl", "same_top", "flips", "perplexity_ratio", "ends", "turns", "tokenizer"}


def measure(
    root: Path,
    model: Artifact,
    data: Artifact,
    reference: Artifact | None = None,
    *,
    run: str = "run",
    **params: object,
) -> Artifact:
    inputs = {"model": model, "data": data, **({"reference": reference} if reference else {})}
    step = Step("evaluate", 1, "parity", params, {role: one.key for role, one in inputs.items()})
    return do_step(STAGE, step, root / run, inputs)


def test_a_gguf_file_is_in_parity(tmp_path: Path, gguf: Artifact, merged: Artifact, data: Artifact):
    measured = measure(tmp_path, gguf, data, merged)
    metrics = measured.facts["metrics"]
    assert set(metrics) == DIVERGENCE | {"template", "added_tokens", "runtime_gap"}
    assert all(metrics[name]["value"] == 1 for name in ("tokenizer", "template", "added_tokens", "turns"))
    assert 0 < metrics["kl"]["value"] < 0.01
    assert 0.9 < metrics["perplexity_ratio"]["value"] < 1.1
    assert measured.facts["kl_999"] <= measured.facts["kl_max"]
    assert measured.facts["measured_on"] == "held out"
    ids = [row["id"] for row in read_examples(measured)]
    assert len(set(ids)) == len(ids)


@pytest.mark.slow
def test_a_folder_and_merged_weights_are_in_parity(tmp_path: Path, nf4: Artifact, merged: Artifact, data: Artifact):
    folder = measure(tmp_path, nf4, data, merged)
    assert set(folder.facts["metrics"]) == DIVERGENCE | {"reload"}
    once, twice = (measure(tmp_path, merged, data, run=run, stop_prompts=2, stop_tokens=4) for run in ("a", "b"))
    assert set(once.facts["metrics"]) == {"ends", "turns", "reload", "stop_rate"}
    assert once.facts["metrics"]["reload"]["value"] == folder.facts["metrics"]["reload"]["value"] == 1
    for name in ("metrics.json", "facts.json", "examples.jsonl"):
        assert (once.path / name).read_bytes() == (twice.path / name).read_bytes()


@pytest.mark.slow
def test_without_rows_that_answer_chats_of_our_own_are_measured(tmp_path: Path, gguf: Artifact, merged: Artifact):
    none = data_artifact(tmp_path, [], "none")
    measured = measure(tmp_path, gguf, none, merged, max_examples=ROWS)
    assert measured.facts["measured_on"] == "made"
    assert measured.facts["metrics"]["kl"]["n"] == ROWS
    assert "ends" not in measured.facts["metrics"]
