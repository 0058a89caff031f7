"""Both ways to a GGUF file, ``llama-quantize`` and ours in process, give the same bytes: types, data and header."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stages.quantize.conftest import source_of
from tests.stages.quantize.synthetic import MODELS
from variantforge.errors import QuantizeError
from variantforge.hashing import file_digest
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_types import FILE_TYPES
from variantforge.stages.quantize.gguf_write import quantize_file
from variantforge.step import Artifact

GOLDEN = Path(__file__).parent / "golden" / "llama_quantize"
Make = Callable[[Path, Path, str], bool]


def ours(source: Path, target: Path, type: str) -> bool:
    try:
        quantize_file(GgufFile.open(source), target, type, lambda done, total: None)
    except QuantizeError:
        return False
    return True


def types_by_part(file: GgufFile) -> dict[str, str]:
    """``attn_v.weight -> "Q4_K: 2 3; Q6_K: 0 1 4"``: which layers hold which type (no number: outside the layers)."""
    layers: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for tensor in file.tensors.values():
        part = tensor.name.split(".", 2)[2] if tensor.layer >= 0 else tensor.name
        layers[part][tensor.type] += [str(tensor.layer)] if tensor.layer >= 0 else []
    return {
        part: "; ".join(f"{kind}: {' '.join(at)}" if at else kind for kind, at in sorted(kinds.items()))
        for part, kinds in sorted(layers.items())
    }


def described(make: Make, source: Path, target: Path) -> str:
    """All file types of one model, as the golden file tells them."""
    table: dict[str, object] = {}
    for type in FILE_TYPES:
        made = make(source, target, type)
        table[type] = {"sha256": file_digest(target), **types_by_part(GgufFile.open(target))} if made else "refused"
    return json.dumps(table, indent=1) + "\n"


def golden_file(model: str) -> Path:
    return GOLDEN / f"{model.replace(', ', '-').replace(' ', '_')}.json"


@pytest.mark.parametrize("model", MODELS)
def test_files_made_in_process_are_those_that_llama_quantize_made(model: str, tmp_path: Path) -> None:
    source = MODELS[model].write(tmp_path / "source.gguf")
    assert described(ours, source, tmp_path / "made.gguf") == golden_file(model).read_text()


@pytest.mark.parametrize("model", MODELS)
def test_llama_quantize_makes_the_golden_files(
    model: str, llama_quantize: Make, golden: Callable[[Path, str], None], tmp_path: Path
) -> None:
    source = MODELS[model].write(tmp_path / "source.gguf")
    golden(golden_file(model), described(llama_quantize, source, tmp_path / "made.gguf"))


@pytest.mark.parametrize("type", FILE_TYPES)
def test_real_models_quantized_both_ways_are_the_same_file(
    type: str, llama_quantize: Make, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for name in ("llama_source", "qwen3_source"):
        source: Artifact = request.getfixturevalue(name)
        assert ours(source.path / "model.gguf", tmp_path / "ours", type)
        assert llama_quantize(source.path / "model.gguf", tmp_path / "theirs", type)
        assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.slow
def test_smollm2_quantized_both_ways_is_the_same_file_for_every_type(llama_quantize: Make, tmp_path: Path) -> None:
    from tests.bench import do_step
    from tests.tiny import smollm2_gguf
    from variantforge.stages.base.stage import STAGE as BASE
    from variantforge.step import Pin, Step

    pin = Pin(file_digest(smollm2_gguf()), str(smollm2_gguf()))
    base = do_step(BASE, Step("base", BASE.version, "gguf", pins={"model": pin}), tmp_path)
    source = source_of(base.path / "model", tmp_path / "quantize").path / "model.gguf"
    for type in FILE_TYPES:
        assert ours(source, tmp_path / "ours", type)
        assert llama_quantize(source, tmp_path / "theirs", type)
        assert file_digest(tmp_path / "ours") == file_digest(tmp_path / "theirs"), type
