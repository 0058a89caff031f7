"""What the hub tells of a repo: metadata of its card, tags, relations, sizes; and a hub that is started again."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session

from tests.localhub import LocalHub
from tests.localhub.cards import base_models, check, tags
from tests.localhub.conftest import Write

CARD = """---
license: apache-2.0
library_name: peft
pipeline_tag: text-generation
base_model: org/base
base_model_relation: adapter
datasets: [org/rows]
language: [en]
tags: [lora]
new_version: acme/next
---
# x
"""


def safetensors(shape: list[int]) -> bytes:
    header = json.dumps({"w": {"dtype": "BF16", "shape": shape, "data_offsets": [0, 2]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0\0"


def test_a_model_tells_what_its_card_says(hub: LocalHub, write: Write, api: HfApi, by_lfs: None) -> None:
    write(
        {
            "README.md": CARD.encode(),
            "model.safetensors": safetensors([3, 4]),
            "config.json": b'{"model_type": "llama"}',
        }
    )
    told = api.model_info("acme/x", files_metadata=True)
    assert told.sha == hub.repo("acme/x").head()
    assert [vars(told)[name] for name in ("library_name", "pipeline_tag")] == ["peft", "text-generation"]
    assert {name: getattr(told, name) for name in ("private", "gated")} == {"private": False, "gated": False}
    assert told.card_data is not None
    assert (told.card_data.license, told.card_data.new_version) == ("apache-2.0", "acme/next")
    assert set(told.tags or []) >= {
        "base_model:org/base",
        "base_model:adapter:org/base",
        "dataset:org/rows",
        "license:apache-2.0",
        "en",
        "lora",
        "safetensors",
    }
    sizes = {sibling.rfilename: sibling.size for sibling in told.siblings or []}
    assert sizes["model.safetensors"] == len(safetensors([3, 4]))
    assert told.safetensors is not None
    assert told.safetensors.parameters == {"BF16": 12}


def test_expand_gives_what_was_asked_for_and_no_more(hub: LocalHub, write: Write, api: HfApi) -> None:
    write({"README.md": CARD.encode()})
    told = api.model_info("acme/x", expand=["baseModels", "sha", "config"])
    assert told.base_models is not None
    assert (told.sha, told.tags) == (hub.repo("acme/x").head(), None)
    with pytest.raises(HfHubHTTPError, match="expand"):
        api.model_info("acme/x", expand=["everything"])  # type: ignore[list-item]


def test_eval_results_are_read_from_their_folder(hub: LocalHub, write: Write, api: HfApi) -> None:
    row = b"- dataset: {id: openai/gsm8k, task_id: gsm8k}\n  value: 0.5\n"
    write({".eval_results/gsm8k.yaml": row})
    told = api.model_info("acme/x", expand=["evalResults"])
    assert told.eval_results is not None
    assert (told.eval_results[0].dataset_id, told.eval_results[0].value) == ("openai/gsm8k", 0.5)


def test_a_card_made_by_the_client_is_pushed_and_loaded(hub: LocalHub, api: HfApi) -> None:
    result = EvalResult("text-generation", "org/rows", "rows", "acc", 0.5)
    data = ModelCardData(license="mit", model_name="x", eval_results=[result])
    ModelCard.from_template(data, model_id="x").validate()
    api.upload_file(
        path_or_fileobj=str(ModelCard(f"---\n{data}\n---\n")).encode(), path_in_repo="README.md", repo_id="acme/x"
    )
    told = api.model_info("acme/x")
    assert told.card_data is not None
    assert told.card_data.eval_results == [result]


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("license: mine", "license"),
        ("license: mit\nbase_model_relation: child", "base_model_relation"),
        ("base_model: ./local/path", "base_model"),
        ("model-index: 3", "must be an array"),
        ("model-index: [{name: x, results: [{metrics: [{type: a}]}]}]", "dataset"),
        ("tags: {a: b}", "tags"),
        ("- a\n- b", "mapping"),
    ],
)
def test_a_broken_card_is_named(metadata: str, words: str) -> None:
    errors, _ = check(f"---\n{metadata}\n---\n")
    assert any(words in error for error in errors)


def test_a_good_card_has_neither_errors_nor_warnings() -> None:
    assert check(CARD) == ([], [])


@pytest.mark.parametrize(
    ("data", "files", "relation"),
    [
        ({"base_model": "a/b"}, ["model.safetensors"], "finetune"),
        ({"base_model": "a/b"}, ["adapter_config.json"], "adapter"),
        ({"base_model": "a/b"}, ["x-Q4_K_M.gguf"], "quantized"),
        ({"base_model": ["a/b", "c/d"]}, [], "merge"),
        ({"base_model": "a/b", "base_model_relation": "quantized"}, ["adapter_config.json"], "quantized"),
    ],
)
def test_the_relation_to_the_base_is_read_from_the_files(
    data: dict[str, object], files: list[str], relation: str
) -> None:
    found = base_models(data, files)
    assert found is not None
    assert found[0] == relation
    assert f"base_model:{relation}:a/b" in tags(data, files)


def test_repos_are_found_by_author_words_and_tags(hub: LocalHub, write: Write, api: HfApi) -> None:
    write({"README.md": CARD.encode()})
    api.create_repo("acme/hidden", private=True)
    api.create_repo("alice/y")
    hub.page_size = 1
    assert [found.id for found in api.list_models(author="acme")] == ["acme/x", "acme/hidden"]
    assert [found.id for found in api.list_models(search="HID")] == ["acme/hidden"]
    assert [found.id for found in api.list_models(filter="base_model:adapter:org/base")] == ["acme/x"]
    assert [found.id for found in HfApi(endpoint=hub.endpoint, token=False).list_models()] == ["acme/x", "alice/y"]
    assert list(api.list_datasets()) == []


def test_webhooks_are_listed(hub: LocalHub, api: HfApi) -> None:
    assert api.list_webhooks() == []


def test_pages_are_shown_to_people(hub: LocalHub, write: Write) -> None:
    write({"README.md": CARD.encode()})
    assert "/acme/x" in get_session().get(hub.endpoint).text
    assert "apache-2.0" in get_session().get(f"{hub.endpoint}/acme/x").text


@contextmanager
def started(data: Path, token: str) -> Iterator[str]:
    """A hub in a process of its own; its address. Stopped as a person would stop it."""
    command = [sys.executable, "-m", "tests.localhub", "--port", "0", "--data", str(data), "--token", token]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline(), process.stdout.readline()]
            found = re.fullmatch(r"export HF_ENDPOINT=(http://127\.0\.0\.1:\d+)\n", lines[0])
            assert found, "the first line tells the address"
            assert lines[1] == f"export HF_TOKEN={token}\n"
            yield found[1]
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_it_starts_in_one_command_and_finds_its_repos_again(tmp_path: Path) -> None:
    token = "hf_" + "a" * 34
    headers = {"Authorization": f"Bearer {token}"}
    for status in (200, 409):
        with started(tmp_path, token) as endpoint:
            wish = {"name": "x.1", "organization": "acme", "visibility": "private"}
            made = httpx2.post(f"{endpoint}/api/repos/create", json=wish, headers=headers)
            assert made.status_code == status
            told = httpx2.get(f"{endpoint}/api/models/acme/x.1", headers=headers).json()
            assert (told["id"], told["private"]) == ("acme/x.1", True)
    kept = [file for file in tmp_path.rglob("*") if file.is_file() and token.encode() in file.read_bytes()]
    assert kept == []
