from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.stages.base.crafted import BAD_SAFETENSORS, DATA, row, safetensors
from variantforge.stages.base.safetensors_header import BadSafetensors, TensorInfo, read_safetensors_header


def test_a_well_formed_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(
        safetensors({"__metadata__": {"format": "pt"}, "a": row(), "e": row(shape=[0], offsets=[8, 8])}, DATA)
    )
    assert read_safetensors_header(path) == {"a": TensorInfo("F32", (2,)), "e": TensorInfo("F32", (0,))}


@pytest.mark.parametrize("fault", BAD_SAFETENSORS)
def test_a_malformed_file_is_refused_with_a_reason(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(BAD_SAFETENSORS[fault])
    with pytest.raises(BadSafetensors) as caught:
        read_safetensors_header(path)
    assert caught.value.why


def test_a_real_file_is_read_as_safetensors_reads_it(small: Path) -> None:
    from safetensors import safe_open

    header = read_safetensors_header(small / "model.safetensors")
    with safe_open(small / "model.safetensors", framework="np") as file:
        names = list(file.keys())
        assert {name: tuple(file.get_slice(name).get_shape()) for name in names} == {
            name: info.shape for name, info in header.items()
        }


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=some.integers(0, 100), raw=some.binary(min_size=1, max_size=6))
def test_no_mutation_brings_anything_but_a_header_or_a_named_error(tmp_path: Path, at: int, raw: bytes) -> None:
    mutated = bytearray(safetensors({"a": row(), "b": row(offsets=[8, 16])}, bytes(16)))
    mutated[at : at + len(raw)] = raw
    path = tmp_path / "mutated.safetensors"
    path.write_bytes(mutated)
    try:
        header = read_safetensors_header(path)
    except BadSafetensors:
        return
    assert all(info.elements >= 0 for info in header.values())
