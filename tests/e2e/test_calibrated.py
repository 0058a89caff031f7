"""A type of three bits, weighed by the variant's own rows, and the adapter as GGUF: from family file to repos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.family import write_rows
from tests.tiny import tiny_model

FAMILY = """\
family: tiny
base: {model: ./base, license: apache-2.0}
datasets: {colours: {path: ./rows.jsonl, license: mit}}
variants:
  weighed:
    kind: instruct
    data: {mix: {colours: 1.0}}
    train: {args: {max_steps: 2, max_length: 128}}
    quantize: ["gguf:IQ3_XS", "gguf_lora:F16"]
    calibration: {tokens: 1024}
evaluate:
  heldout: {evaluator: perplexity, fraction: 0.25, max_examples: 8, runtime_positions: 4}
  parity: off
publish: {path: ./published, artifacts: [adapter, gguf]}
"""


def facts(store: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in store.glob(f"{stage}/*/facts.json")]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_three_bit_type_and_an_adapters_file_are_made_measured_and_published(tmp_path: Path) -> None:
    tiny_model(tmp_path / "base", hidden=256)
    write_rows(tmp_path / "rows.jsonl", 40)
    (tmp_path / "family.yaml").write_text(FAMILY)
    command = [sys.executable, "-m", "variantforge", "apply", "family.yaml", "--store", "store"]
    ended = subprocess.run(command, cwd=tmp_path, env=os.environ | {"COLUMNS": "140"}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr

    made = {one["format"]: one for one in facts(tmp_path / "store", "quantize") if "format" in one}
    assert set(made) == {"gguf:source", "gguf:IQ3_XS", "gguf_lora:F16"}  # the base's file is a source, too
    assert made["gguf:IQ3_XS"]["calibration_tokens"] > 500
    assert {"IQ3_S", "IQ3_XXS"} <= set(made["gguf:IQ3_XS"]["tensor_types"])
    measured = [one["metrics"] for one in facts(tmp_path / "store", "evaluate") if "kl" in one["metrics"]]
    assert len(measured) == 1  # of the three-bit file; the adapter's is no subject
    assert 0 < measured[0]["kl"]["value"] < 0.1
    assert measured[0]["runtime_gap"]["value"] < 0.3
    assert (tmp_path / "published" / "tiny-weighed-GGUF" / "tiny-weighed-IQ3_XS.gguf").is_file()
    adapter = tmp_path / "published" / "tiny-weighed-LoRA"
    assert (adapter / "tiny-weighed-LoRA-F16.gguf").is_file()
    assert "--lora tiny-weighed-LoRA-F16.gguf" in (adapter / "README.md").read_text()
