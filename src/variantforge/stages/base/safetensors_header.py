"""Checking a safetensors file's header: bounded, without loading a tensor.

The rules are those of the format: an 8-byte length, a JSON object, tensors that follow each other without holes
or overlaps up to the end of the file, no key twice.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variantforge.errors import BaseError

MAX_HEADER_BYTES = 25_000_000
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
}


class BadSafetensors(BaseError):
    """The file is not a well-formed safetensors file; ``why`` names the place."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read_safetensors_header(path: Path) -> dict[str, TensorInfo]:
    """Tensor name -> dtype and shape. Raises BadSafetensors, and nothing else, for a malformed file."""
    try:
        return _tensors(path)
    except (ValueError, RecursionError) as error:
        raise BadSafetensors(
            f"{path.name} is not a well-formed safetensors file",
            why=str(error)[:200],
            next="fetch the file again and compare its SHA-256 with the publisher's",
        ) from None


def _tensors(path: Path) -> dict[str, TensorInfo]:
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or length > min(MAX_HEADER_BYTES, size - 8):
            raise ValueError(f"the header claims {length:,} bytes of a file of {size:,}")
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    header.pop("__metadata__", None)
    _check_layout(header, size - 8 - length)
    return {name: TensorInfo(row["dtype"], tuple(row["shape"])) for name, row in header.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands twice in the header")
    return values


def _check_layout(header: dict[str, Any], data_bytes: int) -> None:
    spans = sorted(_span(name, row) for name, row in header.items())
    at = 0
    for start, end, name in spans:
        if start != at:
            raise ValueError(f"tensor {name!r} begins at {start:,} instead of {at:,}: a hole or an overlap")
        at = end
    if at != data_bytes:
        raise ValueError(f"the tensors end at {at:,} of {data_bytes:,} bytes of data")


def _span(name: str, row: Any) -> tuple[int, int, str]:
    if not isinstance(row, dict) or set(row) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name[:80]!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(f"tensor {name[:80]!r} has the unknown dtype {str(dtype)[:40]!r}")
    if not _whole(shape) or len(shape) > 8 or not _whole(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name[:80]!r} has no usable shape or offsets")
    start, end = offsets
    if end - start != math.prod(shape) * _BITS[dtype] // 8:
        raise ValueError(f"tensor {name[:80]!r}: {end - start:,} bytes do not hold {dtype} {shape}")
    return start, end, name


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)
