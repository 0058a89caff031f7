"""Items of tasks that lie on the Hub: training data are kept clean of them, at the commit that is evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.localhub.hub import LocalHub
from tests.stages.data.test_hub import lines, online, push  # noqa: F401  a fixture
from tests.stages.data.workbench import Workbench, chat, chats, write_jsonl
from tests.stages.evaluate.lm_eval.suites import CHOICES, write_task
from variantforge.errors import DataError
from variantforge.step import Artifact

QUESTION = "How many sheep does a farmer own in the end who had seventeen and lost all of them but nine last winter"
REPO = "acme/items"
NAME = f"mine ({REPO})"


def items(*questions: str) -> dict[str, bytes]:
    rows = [{"q": question, "choices": ["eight", "nine"], "gold": 1} for question in questions]
    return {"test.jsonl": lines(*rows), "train.jsonl": lines({"q": "never asked", "choices": ["a", "b"], "gold": 0})}


def family(folder: Path, **config: Any) -> Workbench:
    entry = write_task(folder, dataset_path=REPO, dataset_kwargs=None, **{**CHOICES, **config})
    write_jsonl(folder / "d.jsonl", [*chats(40), chat(f"Well then. {QUESTION}?", "Nine.")])
    evaluate = {"general": {"evaluator": "lm_eval", "tasks": [entry]}}
    return Workbench(folder, {"d": {"path": "./d.jsonl"}}, evaluate=evaluate, data_policy={"decontaminate": {}}).plan()


def hit(mixed: Artifact) -> list[tuple[str, str]]:
    report = json.loads((mixed.path / "contamination.json").read_text())
    return [(one["suite"], one["item"]) for one in report["items"]]


def test_rows_that_hold_an_item_of_the_pinned_commit_are_found(online: LocalHub, tmp_path: Path) -> None:  # noqa: F811
    commit = push(online, items("What is the name of the river on which no town of this country lies?", QUESTION), REPO)
    bench = family(tmp_path)
    step = bench.step("mix", "v")
    assert step.pins[f"against:{REPO}"].at == f"hub:{REPO}@{commit}"
    assert step.params["decontaminate"]["tasks"] == [{"name": NAME, "task": "mine", "dataset": REPO, "split": "test"}]
    push(online, items("Nothing of this is asked by anybody who reads the rows of this family"), REPO)
    mixed = bench.mix()
    assert hit(mixed) == [(NAME, "mine/1")]
    assert mixed.facts["contamination"][NAME]["items"] == 2
    assert mixed.facts["train"] == 40
    assert family(tmp_path).step("mix", "v").key != step.key


def test_without_the_hub_it_ends_by_name_and_not_as_if_nothing_was_found(
    online: LocalHub,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    push(online, items(QUESTION), REPO)
    bench = family(tmp_path)
    with monkeypatch.context() as offline:
        offline.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        offline.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        with pytest.raises(DataError) as caught:
            bench.mix()
    assert f"the items of {NAME} cannot be read" in caught.value.what
    assert "HF_HUB_OFFLINE is set" in caught.value.why
    assert hit(bench.mix()) == [(NAME, "mine/0")]


def test_a_split_that_is_not_there_is_named(online: LocalHub, tmp_path: Path) -> None:  # noqa: F811
    push(online, items(QUESTION), REPO)
    with pytest.raises(DataError) as caught:
        family(tmp_path, test_split="dev").mix()
    assert "dev" in caught.value.why


def test_a_dataset_that_is_not_there_is_told_while_planning(online: LocalHub, tmp_path: Path) -> None:  # noqa: F811
    ((key, text), *_) = family(tmp_path).problems
    assert key == "evaluate.general.tasks"
    assert REPO in text
