"""Both ways to a GGUF file, ``llama-quantize`` and ours in process, give the same bytes: types, data and header."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from tests.llama_cpp import program
from tests.stages.quantize.synthetic import MODELS, ROUNDED, Synthetic, imatrix_of
from variantforge.errors import QuantizeError
from variantforge.hashing import file_digest
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_mix import choose_types, in_llama_order, needs_imatrix
from variantforge.stages.quantize.gguf_types import FILE_TYPES, Tensor
from variantforge.stages.quantize.gguf_write import quantize_file
from variantforge.stages.quantize.imatrix import FILE, read_imatrix, write_imatrix

GOLDEN = Path(__file__).parent / "golden" / "llama_quantize"
Make = Callable[[Path, Path, str, Path | None], bool]
Plan = Callable[[Path, str, Path | None], dict[str, str]]
REFUSED = "refused"
AFTER_A_WHILE = [type for type in FILE_TYPES if type.startswith(("IQ1", "IQ2", "IQ3_XXS"))]  # tables are made first
AT_ONCE = [type for type in FILE_TYPES if type not in AFTER_A_WHILE]


def ours(source: Path, target: Path, type: str, imatrix: Path | None = None) -> bool:
    try:
        read = read_imatrix(imatrix) if imatrix else None
        quantize_file(GgufFile.open(source), target, type, lambda done, total: None, read)
    except QuantizeError:
        return False
    return True


def by_part(chosen: Mapping[str, str]) -> dict[str, str]:
    """``attn_v.weight -> "Q4_K: 2 3; Q6_K: 0 1 4"``: which layers hold which type (no number: outside the layers)."""
    layers: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, kind in chosen.items():
        inside = name.startswith("blk.")
        part = name.split(".", 2)[2] if inside else name
        layers[part][kind] += [name.split(".")[1]] if inside else []
    return {
        part: "; ".join(f"{kind}: {' '.join(at)}" if at else kind for kind, at in sorted(kinds.items()))
        for part, kinds in sorted(layers.items())
    }


def ways(type: str) -> list[bool]:
    """Without an importance matrix, and with one where the type reads it."""
    return [False, True] if FILE_TYPES[type].imatrix else [False]


def title(type: str, guided: bool) -> str:
    return f"{type}, imatrix" if guided else type


def types_told(plan: Plan, model: Synthetic, folder: Path) -> str:
    """The types that ``llama-quantize`` would give to all tensors of a model, for every file type."""
    source, imatrix = model.write(folder / "source.gguf"), folder / FILE
    write_imatrix(imatrix, imatrix_of(model))
    table: dict[str, object] = {}
    for type in FILE_TYPES:
        for guided in ways(type):
            chosen = plan(source, type, imatrix if guided else None)
            table[title(type, guided)] = by_part(chosen) if chosen else REFUSED
    return json.dumps(table, indent=1) + "\n"


def types_chosen(model: Synthetic) -> str:
    """The same, as ``choose_types`` says without rounding anything."""
    tensors = list(model.tensors())
    table: dict[str, object] = {}
    for type in FILE_TYPES:
        for guided in ways(type):
            table[title(type, guided)] = _chosen(type, model, tensors, guided)
    return json.dumps(table, indent=1) + "\n"


def _chosen(type: str, model: Synthetic, tensors: list[Tensor], guided: bool) -> object:
    try:
        chosen = choose_types(type, model.shape, tensors, imatrix=guided)
    except QuantizeError:
        return REFUSED
    if not guided and any(needs_imatrix(type, one, chosen[one.name]) for one in tensors):
        return REFUSED
    return by_part({tensor.name: chosen[tensor.name] for tensor in in_llama_order(tensors)})


def digests(make: Make, folder: Path, types: Iterable[str] = FILE_TYPES) -> dict[str, str]:
    """SHA-256 of one model in each of these file types."""
    source, imatrix, target = ROUNDED.write(folder / "source.gguf"), folder / FILE, folder / "made.gguf"
    write_imatrix(imatrix, imatrix_of(ROUNDED))
    table = {}
    for type in types:
        for guided in ways(type):
            made = make(source, target, type, imatrix if guided else None)
            table[title(type, guided)] = file_digest(target) if made else REFUSED
    return table


def golden_file(model: str) -> Path:
    return GOLDEN / f"{model.replace(', ', '-').replace(' ', '_')}.json"


@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_gets_the_type_that_llama_quantize_gave_it(model: str) -> None:
    assert types_chosen(MODELS[model]) == golden_file(model).read_text()


@pytest.mark.parametrize(
    "types", [AT_ONCE, pytest.param(AFTER_A_WHILE, marks=pytest.mark.slow)], ids=["", "IQ1 to IQ3"]
)
def test_files_made_in_process_are_those_that_llama_quantize_made(types: list[str], tmp_path: Path) -> None:
    made, expected = digests(ours, tmp_path, types), json.loads((GOLDEN / "bytes.json").read_text())
    assert made == {type: expected[type] for type in made}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_llama_quantize_chooses_the_golden_types(
    model: str, llama_quantize_plan: Plan, golden: Callable[[Path, str], None], tmp_path: Path
) -> None:
    golden(golden_file(model), types_told(llama_quantize_plan, MODELS[model], tmp_path))


@pytest.mark.slow
def test_llama_quantize_makes_the_golden_bytes(
    llama_quantize: Make, golden: Callable[[Path, str], None], tmp_path: Path
) -> None:
    golden(GOLDEN / "bytes.json", json.dumps(digests(llama_quantize, tmp_path), indent=1) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["llama", "qwen3", "qwen3_moe"])
def test_a_model_weighed_by_its_own_activations_is_the_same_file_both_ways(model: str, tmp_path: Path) -> None:
    """Some types; ``benchmarks/gguf_agreement.py`` compares them all."""
    from benchmarks.gguf_agreement import compared

    types = ["Q4_K_M", "Q2_K", "Q5_0", "IQ4_XS", "IQ3_XS"]
    found = dict(compared(program("llama-quantize"), model, tmp_path, types))
    assert {type: one["same_bytes"] for type, one in found.items()} == dict.fromkeys(found, True)


def test_the_types_that_need_an_importance_matrix_are_those_that_llama_cpp_refuses_without() -> None:
    tables = [json.loads(golden_file(model).read_text()) for model in MODELS]
    refused = {
        type for type in FILE_TYPES if any(REFUSED == t[type] != t.get(f"{type}, imatrix", REFUSED) for t in tables)
    }
    assert refused == {type for type, kind in FILE_TYPES.items() if kind.imatrix == "needs"}
