"""Another chat template is another training: in the plan's keys, and in what a running process tokenizes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.family import write_rows
from tests.stages.train.lab import Lab
from variantforge import Resolver, build_plan, load_family
from variantforge.stages import PIPELINE
from variantforge.stages.tokens import load_tokenizer, tokenize_row

CHAT = {"id": "1", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


@pytest.fixture
def base(small_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_llama, tmp_path / "model"))


def talkative(base: Path) -> None:
    """Gives the base a template that writes more before the first turn."""
    template = base / "chat_template.jinja"
    template.write_text("<|im_start|>system\nNever be brief.<|im_end|>\n" + template.read_text())


def keys(folder: Path) -> dict[str, set[str]]:
    family = folder / "family.yaml"
    variant = {"kind": "instruct", "data": {"mix": {"rows": 1.0}}}
    form: dict[str, Any] = {
        "family": "templates",
        "base": {"model": "./model", "license": "apache-2.0"},
        "datasets": {"rows": {"path": "./rows.jsonl"}},
        "variants": {"first": variant},
    }
    family.write_text(yaml.safe_dump(form))
    plan = build_plan(load_family(family), Resolver(cache=folder / "pins.json"))
    return {stage: {step.key for step in plan.steps.values() if step.stage == stage} for stage in PIPELINE}


def test_a_changed_template_in_a_base_changes_the_key_of_training(base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl")
    before = keys(tmp_path)
    assert keys(tmp_path) == before
    talkative(base)
    after = keys(tmp_path)
    for stage in ("base", "train", "merge"):
        assert before[stage], stage
        assert before[stage].isdisjoint(after[stage]), stage


def test_a_template_changed_under_a_running_process_is_followed_at_once(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    before = tokenize_row(tokenizer, CHAT, stop_ids=[2])
    tokenizer.chat_template = "<|im_start|>system\nNever be brief.<|im_end|>\n" + tokenizer.chat_template
    after = tokenize_row(tokenizer, CHAT, stop_ids=[2])
    assert len(after.ids) > len(before.ids)
    assert sum(after.supervised) == sum(before.supervised)


def test_trainings_in_one_process_share_no_tokenized_rows(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The incident: rows tokenized for one template are found in a cache and trained on with another. TRL packs with
    ``Dataset.map``, which keeps what it made: for rows in memory nowhere but in a folder of the process."""
    import datasets

    cache = tmp_path / "hf"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    lab = Lab(tmp_path, base)
    step = lab.step(max_steps=1, packing=True, max_length=256)
    before = lab.train(step, "before").facts["loss_first"]
    talkative(base)
    assert lab.train(step, "after").facts["loss_first"] != before
    assert not cache.exists()
    assert not list(tmp_path.rglob("cache-*.arrow"))
