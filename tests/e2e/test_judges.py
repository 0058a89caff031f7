"""A family whose answers are judged: by the commands, through every stage, with a key that only those steps see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.family import write_rows
from tests.e2e.test_methods import vf
from tests.stages.evaluate.judges.court import prefers, sitting

KEY = "s3cret-of-the-court-and-long"
FAMILY = """\
family: tiny
base: {{model: {base}, license: apache-2.0}}
datasets:
  colours: {{path: ./rows.jsonl, format: prompt_completion, license: mit}}
data_policy: {{decontaminate: {{}}}}
variants:
  chat:
    kind: instruct
    data: {{mix: {{colours: 1.0}}}}
    train:
      args: {{max_steps: 4, learning_rate: 1.0e-2, per_device_train_batch_size: 4, gradient_accumulation_steps: 1,
             max_length: 128}}
evaluate:
  heldout: {{evaluator: perplexity, fraction: 0.25, max_examples: 4}}
  duel:
    evaluator: arena
    max_prompts: 9
    max_tokens: 6
    judge: {{endpoint: "{url}", model: wise, api_key_env: COURT_KEY}}
  safe: {{evaluator: safety, harmful: ./harmful.jsonl, harmless: ./harmless.jsonl, max_tokens: 8}}
  form: {{evaluator: format, builtin: false, path: ./form.jsonl, max_tokens: 8}}
  parity: off
gates:
  - {{metric: duel.win_rate, at_least: 0.0}}
  - {{metric: safe.refused_harmful, vs: base, worse_by_at_most: 1.0}}
publish: {{path: ./published, artifacts: [merged]}}
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_answers_are_judged_counted_and_gated_and_the_key_stays_in_memory(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURT_KEY", KEY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_rows(tmp_path / "rows.jsonl")
    for name in ("harmful", "harmless", "form"):
        lines = [{"prompt": f"A request of the {name} kind, number {at}."} for at in range(9)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with sitting(prefers(len)) as court:
        (tmp_path / "family.yaml").write_text(FAMILY.format(base=tiny_llama, url=court.url))
        vf(tmp_path, "apply", "--yes")
        assert court.asked
        assert {headers.get("Authorization") for _, _, headers in court.asked} == {f"Bearer {KEY}"}
        asked = len(court.asked)
        assert vf(tmp_path, "plan")["summary"]["run"] == 0
        assert len(court.asked) == asked

    measured = facts_of(tmp_path, "evaluate")
    metrics = [set(facts["metrics"]) for facts in measured]
    assert sum("win_rate" in one for one in metrics) == 1
    assert sum("refused_harmful" in one for one in metrics) == sum("clean" in one for one in metrics) == 2
    (mixed,) = [facts for facts in facts_of(tmp_path, "data") if "contamination" in facts]
    assert {"./harmful.jsonl", "./harmless.jsonl", "./form.jsonl"} <= set(mixed["contamination"])
    assert "`duel.win_rate`" in (tmp_path / "published" / "tiny-chat" / "README.md").read_text()
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert holding == []


def facts_of(folder: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (folder / ".variantforge").glob(f"{stage}/*/facts.json")]
