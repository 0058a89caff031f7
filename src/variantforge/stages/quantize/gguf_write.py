"""Quantizing a 16-bit GGUF file in process, byte for byte as ``llama-quantize`` does it.

Tensors are read, rounded and written in pieces, so memory stays small; libgguf spreads each piece over the cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import QuantizeError
from variantforge.fsops import telling_disk_errors
from variantforge.stages.quantize.gguf_file import Field, GgufFile, write_gguf
from variantforge.stages.quantize.gguf_mix import choose_types, in_llama_order
from variantforge.stages.quantize.gguf_types import FILE_TYPES, TYPES, Tensor
from variantforge.stages.quantize.llama_cpp import rows_library
from variantforge.stages.quantize.read import as_float32

if TYPE_CHECKING:
    import numpy as np

_QUANTIZATION_VERSION = 2  # ggml's GGML_QNT_VERSION
_PIECE_ELEMENTS = 1 << 19  # 2 MB as float32: stays in the processor's cache from widening to rounding
_OF_THE_SOURCE = ("general.file_type", "general.quantization_version")
_OF_A_SPLIT = ("split.no", "split.count", "split.tensors.count")


def quantize_file(source: GgufFile, target: Path, file_type: str, step: Callable[[int, int], None]) -> None:
    """Writes ``source`` (F32, F16 or BF16) as ``file_type`` to ``target``; calls ``step(done, total)`` per tensor.

    Raises QuantizeError for weights that are not finite, and for rows that no type fits.
    """
    before = in_llama_order(source.tensors.values())
    chosen = choose_types(file_type, source.shape, before)
    after = [Tensor(tensor.name, _without_ones(tensor.shape), chosen[tensor.name]) for tensor in before]

    def data() -> Iterator[Iterator[np.ndarray[Any, Any]]]:
        for done, (old, new) in enumerate(zip(before, after, strict=True)):
            step(done, len(before))
            yield _rounded(source.data(old.name), old, new.type)
        step(len(before), len(before))

    with telling_disk_errors(target), open(target, "wb") as file:  # the store flushes it with the whole artifact
        write_gguf(file, _fields(source, file_type), after, data())


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """ggml counts dimensions up to the last that is not 1."""
    used = max((place for place, length in enumerate(shape, 1) if length != 1), default=1)
    return shape[:used]


def _fields(source: GgufFile, file_type: str) -> dict[str, Field]:
    """The source's header in its order; what names the file type comes last, as llama.cpp puts it."""
    kept = {key: field for key, field in source.fields.items() if key not in _OF_THE_SOURCE + _OF_A_SPLIT}
    kept["general.quantization_version"] = Field.of(_QUANTIZATION_VERSION)
    kept["general.file_type"] = Field.of(FILE_TYPES[file_type].number)
    return kept


def _rounded(rows: np.ndarray[Any, Any], tensor: Tensor, kind: str) -> Iterator[np.ndarray[Any, Any]]:
    """A tensor's rows as ``kind``, in pieces."""
    import numpy as np

    if kind == tensor.type:
        yield rows
        return
    rows_at_once = max(1, _PIECE_ELEMENTS // tensor.shape[0])
    for start in range(0, len(rows), rows_at_once):
        values = as_float32(rows[start : start + rows_at_once], tensor)
        if not np.isfinite(values).all():
            raise QuantizeError(f"{tensor.name} holds weights that are not finite", next="train this variant again")
        rounded = rows_library().quantize_rows(values, TYPES[kind].number)
        if kind == "F16" and not np.isfinite(rounded).all():
            raise QuantizeError(f"{tensor.name} holds weights too large for F16", next="choose gguf:BF16 instead")
        yield rounded
