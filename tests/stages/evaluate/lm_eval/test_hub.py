"""Tasks whose items lie on a real hub on this machine: pinned by commit, and what is said when it cannot be reached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import do_step
from tests.localhub.hub import LocalHub
from tests.stages.data.test_hub import online, push  # noqa: F401  a fixture
from tests.stages.evaluate.lm_eval.suites import CHOICES, docs, planned, write_task
from variantforge.errors import EvaluateError
from variantforge.stages.evaluate.stage import STAGE
from variantforge.step import Artifact


def items(seed: int) -> dict[str, bytes]:
    lines = "".join(json.dumps(row) + "\n" for row in docs(4, seed)).encode()
    return {"test.jsonl": lines, "train.jsonl": lines}


@pytest.fixture
def entry(tmp_path: Path) -> str:
    return write_task(tmp_path, dataset_path="acme/items", dataset_kwargs=None, **CHOICES)


@pytest.mark.slow
def test_the_commit_that_was_planned_is_asked_whatever_came_after(
    online: LocalHub,  # noqa: F811
    tmp_path: Path,
    base: Artifact,
    entry: str,
) -> None:
    commit = push(online, items(1), "acme/items")
    step, problems = planned(tmp_path, tasks=[entry])
    assert step is not None, problems
    assert step.pins["data:acme/items"].at == f"hub:acme/items@{commit}"
    push(online, items(2), "acme/items")
    found = do_step(STAGE, step, tmp_path / "run", {"model": base})
    assert found.facts["tasks"]["mine"]["data"] == f"acme/items@{commit}"
    later, _ = planned(tmp_path, tasks=[entry])
    assert later is not None
    assert later.key != step.key
    other = do_step(STAGE, later, tmp_path / "run", {"model": base})
    assert other.facts["tokens_sha256"] != found.facts["tokens_sha256"]


def test_a_dataset_that_is_not_there_is_told_while_planning(online: LocalHub, tmp_path: Path, entry: str) -> None:  # noqa: F811
    step, ((key, text),) = planned(tmp_path, tasks=[entry])
    assert step is None
    assert key == "evaluate.general.tasks"
    assert "acme/items" in text


def test_without_network_the_error_says_what_to_do(
    online: LocalHub,  # noqa: F811
    tmp_path: Path,
    base: Artifact,
    entry: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    push(online, items(1), "acme/items")
    step, _ = planned(tmp_path, tasks=[entry])
    assert step is not None
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(EvaluateError) as caught:
        do_step(STAGE, step, tmp_path / "run", {"model": base})
    assert "acme/items, lie on the Hub, and HF_HUB_OFFLINE is set" in caught.value.why
    assert "dataset_path: json" in caught.value.next
