"""Datasets on a real hub on this machine: streamed by commit, with their subsets and splits."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.localhub.hub import LocalHub
from tests.stages.data.workbench import Workbench, make_dataset, rows_of
from variantforge.errors import DataError
from variantforge.stages.data.hub import open_hub

CARD = """---
configs:
- config_name: en
  data_files: [{split: train, path: data/en-*}, {split: test, path: test/en-*}]
- config_name: nb
  data_files: [{split: train, path: data/nb-*}]
---
"""


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def push(hub: LocalHub, files: dict[str, bytes], repo: str = "acme/chat") -> str:
    """Makes the repo where it is not there yet; returns the commit."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(repo, repo_type="dataset", exist_ok=True)
    operations = [CommitOperationAdd(path, io.BytesIO(content)) for path, content in files.items()]
    return api.create_commit(repo, operations, commit_message="data", repo_type="dataset").oid


@pytest.fixture
def online(hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalHub:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return hub


def test_the_rows_of_a_commit_are_read_whatever_came_after(online: LocalHub, tmp_path: Path) -> None:
    files = {"README.md": CARD.encode(), "data/en-1.jsonl": lines({"text": "one"}, {"text": "two"})}
    commit = push(online, files | {"data/nb-1.jsonl": lines({"text": "en"}), "test/en-1.jsonl": lines({"text": "x"})})
    push(online, {"data/en-1.jsonl": lines({"text": "changed"})})
    artifact = make_dataset(tmp_path, "acme/chat", revision=commit, subset="en")
    assert {row["text"] for row in rows_of(artifact)} == {"one", "two"}
    assert (artifact.facts["format"], artifact.facts["format_why"]) == ("text", "columns text")
    artifact = make_dataset(tmp_path / "2", "acme/chat", revision=commit, subset="en", split="test")
    assert [row["text"] for row in rows_of(artifact)] == ["x"]


def test_a_branch_is_pinned_while_planning(online: LocalHub, tmp_path: Path) -> None:
    commit = push(online, {"train.jsonl": lines({"text": "one"})})
    bench = Workbench(tmp_path, {"d": {"path": "acme/chat"}}).plan()
    assert bench.step("d").pins["data"].at == f"hub:acme/chat@{commit}"
    push(online, {"train.jsonl": lines({"text": "two"})})
    assert [row["text"] for row in rows_of(bench.rows())] == ["one"]


def test_parquet_is_streamed_and_keys_that_are_null_in_it_are_absent(online: LocalHub, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    calls = [{"name": "a", "arguments": {"x": 1, "y": None}}, {"name": "b", "arguments": {"x": None, "y": "z"}}]
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [call]}]}
        for call in calls
    ]
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    commit = push(online, {"train-00000-of-00001.parquet": file.getvalue()})
    artifact = make_dataset(tmp_path, "acme/chat", revision=commit)
    called = [row["messages"][1]["tool_calls"][0]["function"] for row in rows_of(artifact)]
    assert sorted(called, key=lambda call: str(call["name"])) == [
        {"name": "a", "arguments": {"x": 1}},
        {"name": "b", "arguments": {"y": "z"}},
    ]


def test_nothing_of_the_dataset_stays_on_disk(online: LocalHub, tmp_path: Path) -> None:
    commit = push(online, {"train.jsonl": lines(*({"text": f"{number} " * 50} for number in range(2000)))})
    table = open_hub("acme/chat", commit, subset=None, split="train")
    assert len(list(table.records)) == 2000
    cached = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in cached) < 10_000


@pytest.mark.parametrize(
    ("section", "what", "why"),
    [
        ({"subset": "de"}, "dataset acme/chat (split 'train', subset 'de') cannot be loaded", "BuilderConfig 'de'"),
        (
            {"subset": "nb", "split": "test"},
            "dataset acme/chat (split 'test', subset 'nb') cannot be loaded",
            "Bad split: test",
        ),
    ],
)
def test_a_subset_or_split_that_is_not_there_is_told(
    online: LocalHub, tmp_path: Path, section: dict[str, str], what: str, why: str
) -> None:
    files = {path: lines({"text": "x"}) for path in ("data/en-1.jsonl", "data/nb-1.jsonl", "test/en-1.jsonl")}
    commit = push(online, {"README.md": CARD.encode(), **files})
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path, "acme/chat", revision=commit, **section)
    assert caught.value.what == what
    assert why in caught.value.why
    assert caught.value.next.endswith("for its subsets and splits; set subset: and split:")


def test_a_file_that_is_not_what_its_name_says_is_told(online: LocalHub, tmp_path: Path) -> None:
    commit = push(online, {"train.jsonl": b'{"text": "one"}\nno json\n'})
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path, "acme/chat", revision=commit)
    assert caught.value.what == "dataset acme/chat (split 'train') cannot be read on after row 0"
    assert "JSON" in caught.value.why


def test_without_the_network_it_is_told_how_to_bring_the_rows(tmp_path: Path) -> None:
    commit = "0" * 40
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path, "acme/chat", revision=commit, subset="en")
    assert (
        caught.value.what == "dataset acme/chat (split 'train', subset 'en') lies on the Hub, and HF_HUB_OFFLINE is set"
    )
    assert f"hf download --repo-type dataset acme/chat --revision {commit} --local-dir ./chat" in caught.value.next
