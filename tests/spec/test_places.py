from __future__ import annotations

from pathlib import Path

import pytest

from tests.spec.family import load

TEXT = """\
family: small
base: {model: ./base}
datasets:
  pairs.v2: {path: ./pairs.jsonl}
  pairs: {path: ./pairs.jsonl}
variants:
  code:
    kind: code
    data:
      mix: {pairs.v2: 1.0}
    quantize:
      - nf4
      - gguf:Q8_0
evaluate: {heldout: {evaluator: perplexity}}
gates:
  - {metric: heldout.loss, vs: base, better_by: 0}
"""


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("", "1:1"),
        ("family", "1:9"),
        ("base", "2:1"),
        ("base.model", "2:15"),
        ("base.revision", "2:1"),
        ("datasets.pairs.v2.path", "4:20"),
        ("datasets.pairs.path", "5:17"),
        ("datasets.pairs.format", "5:3"),
        ("datasets.pairs.v2.format", "4:3"),
        ("variants.code.data.mix.pairs.v2", "10:23"),
        ("variants.code.data.mix", "10:7"),
        ("variants.code.quantize[1]", "13:9"),
        ("variants.code.quantize[7]", "11:5"),
        ("variants.code.train.args.seed", "7:3"),
        ("gates[0].metric", "16:14"),
        ("gates[0].at_most", "16:5"),
        ("gates[x]", "15:1"),
        ("nowhere[3].at.all", "1:1"),
    ],
)
def test_a_key_path_is_found_or_its_nearest_parent(key: str, place: str, tmp_path: Path) -> None:
    file = load(tmp_path, TEXT)
    assert file.where(key) == f"{tmp_path / 'family.yaml'}:{place}"
    assert str(file.problem(key, "is odd")) == "  ".join(part for part in (file.where(key), key, "is odd") if part)
