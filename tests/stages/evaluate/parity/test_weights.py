"""Blocks as near as their type rounds, and heads that are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stages.evaluate.parity.spoilt import rewritten, with_damaged_block, without_tensor
from tests.stages.evaluate.subjects import gguf_artifact, model_artifact
from variantforge.errors import WeightsDamaged
from variantforge.stages.evaluate.parity.weights import check_head, check_weights, limit_of
from variantforge.stages.models import load_model
from variantforge.stages.quantize.gguf_file import Field, GgufFile
from variantforge.stages.quantize.gguf_types import TYPES
from variantforge.stages.quantize.read import dequantized_state
from variantforge.step import Artifact


def check(file: Path, merged: Artifact) -> dict[str, Any]:
    model = load_model(merged.path / "model")
    return check_weights(GgufFile.open(file), dequantized_state(file, model.config), model)


def test_a_whole_file_is_within_its_limits_and_tells_its_worst_block(gguf: Artifact, merged: Artifact):
    facts = check(gguf.path / "model.gguf", merged)
    assert 0 < facts["worst_block_error"] < 0.0223 < facts["worst_block_limit"]  # half a step of 127 in 32 weights


@pytest.mark.parametrize("tensor", ["token_embd.weight", "blk.1.attn_q.weight", "blk.0.ffn_down.weight"])
def test_one_damaged_block_is_found_wherever_it_lies(tmp_path: Path, gguf: Artifact, merged: Artifact, tensor: str):
    file = with_damaged_block(tensor)(gguf.path / "model.gguf", tmp_path / "spoilt.gguf")
    with pytest.raises(WeightsDamaged, match="1 tensors are not the merged model's") as caught:
        check(file, merged)
    assert caught.value.exit_code == 6


def test_weights_of_another_model_are_found(gguf: Artifact, base: Artifact):
    with pytest.raises(WeightsDamaged, match="tensors are not the merged model's"):
        check(gguf.path / "model.gguf", base)


@pytest.mark.slow
def test_a_head_of_its_own_that_is_not_in_the_file_is_missed(tmp_path: Path, tiny_qwen3: Path):
    merged = model_artifact(tmp_path, "untied", tiny_qwen3)
    whole = gguf_artifact(tmp_path, "q8_0", merged, "Q8_0").path / "model.gguf"
    config = load_model(merged.path / "model").config
    check_head(GgufFile.open(whole), config)
    lost = without_tensor("output.weight")(whole, tmp_path / "lost.gguf")
    with pytest.raises(WeightsDamaged, match="lost the output head"):
        check_head(GgufFile.open(lost), config)


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "one outlier", "small beside large"])
@pytest.mark.parametrize("type", ["Q8_0", "Q6_K", "Q5_0", "Q4_K", "Q4_0", "Q3_K", "Q2_K"])
def test_sound_blocks_of_any_weights_are_within_the_limit_of_their_type(type: str, kind: str):
    """Real rounding of weights of four sorts: nothing that is sound is called damaged."""
    import numpy as np

    from variantforge.stages.quantize.llama_cpp import rows_library

    random = np.random.default_rng(3)
    made: dict[str, Callable[[], Any]] = {
        "normal": lambda: random.standard_normal((64, 1024)),
        "heavy tails": lambda: random.standard_t(3, (64, 1024)),
        "one outlier": lambda: random.standard_normal((64, 1024)) * np.where(np.arange(1024) == 77, 100, 1),
        "small beside large": lambda: random.standard_normal((64, 1024)) * np.exp(random.standard_normal((64, 1))),
    }
    rows, block = made[kind]().astype(np.float32), TYPES[type].block
    library = rows_library()
    back = library.dequantize_rows(library.quantize_rows(rows, TYPES[type].number), TYPES[type].number, 1024)
    off = np.linalg.norm((back - rows).reshape(-1, block), axis=1) / np.linalg.norm(rows.reshape(-1, block), axis=1)
    assert off.max() < limit_of(type, guided=False)


@pytest.mark.parametrize("type", ["Q8_0", "Q6_K", "Q5_0", "Q4_K", "Q3_K", "Q2_K", "IQ4_XS"])
def test_sound_blocks_are_within_the_limit_whatever_matters_more(type: str):
    """An importance matrix that hardly looks at most columns, as those of real models do."""
    import numpy as np

    from variantforge.stages.quantize.llama_cpp import rows_library

    random, library, block = np.random.default_rng(3), rows_library(), TYPES[type].block
    rows = random.standard_t(3, (64, 1024)).astype(np.float32)
    matters = np.exp(4 * random.standard_normal(1024)).astype(np.float32)
    back = library.dequantize_rows(library.quantize_rows(rows, TYPES[type].number, matters), TYPES[type].number, 1024)
    off = np.linalg.norm((back - rows).reshape(-1, block), axis=1) / np.linalg.norm(rows.reshape(-1, block), axis=1)
    assert off.max() < limit_of(type, guided=True)


def test_with_an_importance_matrix_only_types_that_read_it_get_wider_limits(
    tmp_path: Path, gguf: Artifact, merged: Artifact
):
    guided = rewritten(
        gguf.path / "model.gguf", tmp_path / "guided.gguf", {"quantize.imatrix.entries_count": Field.of(8)}
    )
    assert check(guided, merged)["worst_block_limit"] < limit_of("Q4_K", guided=True)
    spoilt = with_damaged_block("token_embd.weight")(guided, tmp_path / "spoilt.gguf")
    with pytest.raises(WeightsDamaged, match="1 tensors are not the merged model's"):
        check(spoilt, merged)
