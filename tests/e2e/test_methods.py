"""Variants that learn on from a fine-tuned one, by preferences and by tests: by the commands, through every stage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.family import WORDS, write_rows
from tests.sandbox.conftest import sandbox  # noqa: F401
from tests.stages.train.small_words import small_model

FAMILY = """\
family: tiny
base: {{model: {base}, license: apache-2.0}}
datasets:
  colours: {{path: ./rows.jsonl, format: prompt_completion, license: mit}}
  prefs: {{path: ./pairs.jsonl, license: mit}}
defaults:
  train:
    args: {{max_steps: 6, learning_rate: 1.0e-2, per_device_train_batch_size: 4, gradient_accumulation_steps: 1,
           max_length: 128{tracked}}}
variants:
  chat: {{kind: instruct, data: {{mix: {{colours: 1.0}}}}}}
  aligned: {{kind: instruct, from: chat, data: {{mix: {{prefs: 1.0}}}}, train: {{method: dpo, args: {{beta: 0.2}}}},
            quantize: [nf4]}}
evaluate:
  heldout: {{evaluator: perplexity, fraction: 0.25, max_examples: 8}}
  parity: off
gates:
  - {{metric: heldout.loss, vs: base, better_by: 0.0, on: [merged]}}
publish: {{path: ./published, artifacts: [merged, nf4]}}
"""


def vf(folder: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "variantforge", *words, "--json"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{words}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


def write_pairs(path: Path) -> None:
    pairs = [
        {
            "prompt": f"Which colour has thing number {number}?",
            "chosen": f"It is {WORDS[number % len(WORDS)]}.",
            "rejected": "I would rather not say.",
        }
        for number in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_variant_is_aligned_by_preferences_from_its_parents_merged_weights(tiny_llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    write_rows(tmp_path / "rows.jsonl")
    write_pairs(tmp_path / "pairs.jsonl")
    family = tmp_path / "family.yaml"
    family.write_text(FAMILY.format(base=tiny_llama, tracked=", report_to: [tensorboard]"))
    vf(tmp_path, "apply", "--yes")

    # its reference was the parent: the loss starts at ln 2, with all margins at zero
    (trained,) = [facts for facts in facts_of(tmp_path, "train") if "objective" in facts]
    assert trained["loss_first"] == pytest.approx(0.6931, abs=1e-3)
    assert trained["objective"]["rewards/margins"]["last"] > trained["objective"]["rewards/margins"]["first"] == 0.0

    # it was measured on the chosen side of held-out pairs, and its card tells the method
    for repo in ("tiny-aligned", "tiny-aligned-nf4"):
        card = (tmp_path / "published" / repo / "README.md").read_text()
        assert "- **Training:** DPO with LoRA" in card
        assert "`rewards/margins` 0 and " in card
        assert "`heldout.loss`" in card
        assert "SFT" not in card
        assert "\n- dpo\n" in card
    assert [path.name for path in (tmp_path / "runs" / "tiny").iterdir() if list(path.iterdir())]

    # where its metrics went changes nothing: without the tracker there is nothing to do
    shutil.rmtree(tmp_path / "runs")
    family.write_text(FAMILY.format(base=tiny_llama, tracked=""))
    assert vf(tmp_path, "plan")["summary"]["run"] == 0


def facts_of(folder: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (folder / ".variantforge").glob(f"{stage}/*/facts.json")]


CODER = """\
family: tiny
base: {{model: {base}, license: apache-2.0}}
datasets:
  drafts: {{path: ./drafts.jsonl, format: prompt_completion, license: mit}}
  tasks: {{path: ./tasks.jsonl, format: prompt_only, license: mit}}
variants:
  draft:
    kind: code
    data: {{mix: {{drafts: 1.0}}}}
    train:
      adapter: {{type: full}}
      args: {{max_steps: 120, learning_rate: 5.0e-3, per_device_train_batch_size: 8, gradient_accumulation_steps: 1,
             max_length: 128}}
  coder:
    kind: code
    from: draft
    data: {{mix: {{tasks: 1.0}}}}
    train:
      method: grpo
      rewards: [{{reward: unit_tests}}]
      args: {{max_steps: 12, learning_rate: 5.0e-3, per_device_train_batch_size: 16, num_generations: 8,
             gradient_accumulation_steps: 1, max_completion_length: 40, temperature: 1.0}}
evaluate: {{parity: off}}
publish: {{path: ./published, artifacts: [adapter, merged]}}
"""


def write_tasks(folder: Path) -> None:
    """What a draft learns is right every second time; what it is asked then is to be right."""
    asked = [f"Write number {number}." for number in range(16)]
    drafts = [
        {"prompt": prompt, "completion": f"```python\ndef give(): return {value}\n```"}
        for prompt in asked
        for value in (1, 2)
    ]
    tasks = [{"prompt": prompt, "tests": "assert give() == 1", "entry_point": "give"} for prompt in asked]
    for file, rows in (("drafts.jsonl", drafts), ("tasks.jsonl", tasks)):
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("sandbox")
def test_a_variant_learns_to_pass_tests_from_its_parents_drafts(tmp_path: Path) -> None:
    write_tasks(tmp_path)
    (tmp_path / "family.yaml").write_text(CODER.format(base=small_model(tmp_path / "base", hidden=64)))
    vf(tmp_path, "apply", "--yes")
    (trained,) = [facts for facts in facts_of(tmp_path, "train") if "rewards" in facts]
    reward = trained["objective"]["rewards/unit_tests/mean"]
    assert 0.1 < reward["first"] < reward["last"] - 0.2
    assert "- **Training:** GRPO with LoRA" in (tmp_path / "published" / "tiny-coder" / "README.md").read_text()
