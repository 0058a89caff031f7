from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.stages.base.crafted import BAD_GGUF, GOOD, UINT32, Gguf, gguf_bytes, pair, strings
from tests.tiny import smollm2_gguf
from variantforge.errors import BaseError
from variantforge.stages.base.gguf_format import BLOCKS, Array
from variantforge.stages.base.gguf_header import BadGguf, is_gguf, read_gguf_header


def written(tmp_path: Path, crafted: bytes | Gguf) -> Path:
    path = tmp_path / "crafted.gguf"
    path.write_bytes(gguf_bytes(crafted))
    return path


def test_a_well_formed_file_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    header = read_gguf_header(path)
    assert is_gguf(path)
    assert header.architecture == "llama"
    assert header.metadata["llama.block_count"] == 1
    assert header.length("tokenizer.ggml.tokens") == 100
    assert [(tensor.name, tensor.shape, tensor.type, tensor.size_bytes) for tensor in header.tensors] == [
        ("token_embd.weight", (8, 4), "F32", 128),
        ("output_norm.weight", (8,), "F32", 32),
    ]
    assert header.tensors[0].start == header.data_start
    assert header.elements == 40


@pytest.mark.parametrize("fault", BAD_GGUF)
def test_a_malformed_file_is_refused_with_a_reason(tmp_path: Path, fault: str) -> None:
    with pytest.raises(BadGguf) as caught:
        read_gguf_header(written(tmp_path, BAD_GGUF[fault]))
    assert isinstance(caught.value, BaseError)
    assert caught.value.why


def test_another_alignment_is_honoured(tmp_path: Path) -> None:
    crafted = GOOD.with_pair(pair("general.alignment", UINT32, struct.pack("<I", 128)))
    header = read_gguf_header(written(tmp_path, Gguf(pairs=crafted.pairs, alignment=128)))
    assert header.alignment == 128
    assert header.data_start % 128 == 0


def test_the_block_sizes_are_those_of_gguf() -> None:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    for number, (name, elements, size_bytes) in BLOCKS.items():
        kind = GGMLQuantizationType(number)
        assert (kind.name, *GGML_QUANT_SIZES[kind]) == (name, elements, size_bytes)


def test_a_real_file_is_read_as_gguf_py_reads_it() -> None:
    from gguf import GGUFReader

    header = read_gguf_header(smollm2_gguf())
    reader = GGUFReader(smollm2_gguf())
    assert [(tensor.name, tensor.shape, tensor.type, tensor.start) for tensor in header.tensors] == [
        (tensor.name, tuple(tensor.shape.tolist()), tensor.tensor_type.name, tensor.data_offset)
        for tensor in reader.tensors
    ]
    scalars = {key: value for key, value in header.metadata.items() if not isinstance(value, Array)}
    assert len(scalars) == 30
    assert {key: reader.fields[key].contents() for key in scalars} == scalars


def test_a_vocabulary_of_300000_entries_takes_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.with_pair(strings("tokenizer.ggml.merges", ["some merge"] * 300_000)))
    tracemalloc.start()
    read_gguf_header(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1_000_000


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=some.lists(
        some.tuples(some.integers(0, 2600), some.binary(min_size=1, max_size=9)), min_size=1, max_size=6
    ),
    cut=some.integers(0, 2600),
)
def test_no_mutation_brings_anything_but_a_header_or_a_named_error(
    tmp_path: Path, changes: list[tuple[int, bytes]], cut: int
) -> None:
    mutated = bytearray(GOOD.build())
    for at, raw in changes:
        mutated[at : at + len(raw)] = raw
    path = tmp_path / "mutated.gguf"
    path.write_bytes(mutated[: cut or None])
    try:
        header = read_gguf_header(path)
    except BadGguf:
        return
    for tensor in header.tensors:
        assert header.data_start <= tensor.start <= tensor.start + tensor.size_bytes <= len(mutated)
