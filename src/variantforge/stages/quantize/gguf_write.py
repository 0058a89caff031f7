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
from variantforge.stages.quantize.gguf_mix import choose_types, in_llama_order, needs_imatrix
from variantforge.stages.quantize.gguf_types import FILE_TYPES, TYPES, Tensor
from variantforge.stages.quantize.imatrix import Imatrix
from variantforge.stages.quantize.llama_cpp import rows_library
from variantforge.stages.quantize.read import as_float32

if TYPE_CHECKING:
    import numpy as np

_QUANTIZATION_VERSION = 2  # ggml's GGML_QNT_VERSION
_PIECE_ELEMENTS = 1 << 19  # 2 MB as float32: stays in the processor's cache from widening to rounding
_OF_THE_SOURCE = ("general.file_type", "general.quantization_version")
_OF_A_SPLIT = ("split.no", "split.count", "split.tensors.count")


def quantize_file(
    source: GgufFile,
    target: Path,
    file_type: str,
    step: Callable[[int, int], None],
    imatrix: Imatrix | None = None,
) -> None:
    """Writes ``source`` (F32, F16 or BF16) as ``file_type`` to ``target``; calls ``step(done, total)`` per tensor.

    Raises QuantizeError for weights that are not finite, for rows that no type fits, and where a type needs an
    importance matrix that says nothing of a tensor.
    """
    before = in_llama_order(source.tensors.values())
    chosen = choose_types(file_type, source.shape, before, imatrix=imatrix is not None)
    weighed = {tensor.name: imatrix.weights_for(tensor) if imatrix else None for tensor in before}
    for tensor in before:
        if weighed[tensor.name] is None and needs_imatrix(file_type, tensor, chosen[tensor.name]):
            raise _unguided(file_type, tensor, imatrix)
    after = [Tensor(tensor.name, _without_ones(tensor.shape), chosen[tensor.name]) for tensor in before]

    def data() -> Iterator[Iterator[np.ndarray[Any, Any]]]:
        for done, (old, new) in enumerate(zip(before, after, strict=True)):
            step(done, len(before))
            yield _rounded(source.data(old.name), old, new.type, weighed[old.name])
        step(len(before), len(before))

    with telling_disk_errors(target), open(target, "wb") as file:  # the store flushes it with the whole artifact
        write_gguf(file, _fields(source, file_type, imatrix), after, data())


def _unguided(file_type: str, tensor: Tensor, imatrix: Imatrix | None) -> QuantizeError:
    if imatrix is None:
        what, next = f"{file_type} needs an importance matrix", "declare 'calibration' for this variant"
    else:
        what = (
            f"{file_type} needs to know which weights of {tensor.name} matter, and the importance matrix does not say"
        )
        next = "choose a type of four bits or more, such as gguf:Q4_K_M"
    return QuantizeError(what, why="So few bits, given to all weights alike, leave nothing of a model.", next=next)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """ggml counts dimensions up to the last that is not 1."""
    used = max((place for place, length in enumerate(shape, 1) if length != 1), default=1)
    return shape[:used]


def _fields(source: GgufFile, file_type: str, imatrix: Imatrix | None) -> dict[str, Field]:
    """The source's header in its order; what names the file type comes last, as llama.cpp puts it."""
    kept = {key: field for key, field in source.fields.items() if key not in _OF_THE_SOURCE + _OF_A_SPLIT}
    kept["general.quantization_version"] = Field.of(_QUANTIZATION_VERSION)
    kept["general.file_type"] = Field.of(FILE_TYPES[file_type].number)
    return kept | (imatrix.fields if imatrix else {})


def _rounded(
    rows: np.ndarray[Any, Any], tensor: Tensor, kind: str, weighed: np.ndarray[Any, Any] | None
) -> Iterator[np.ndarray[Any, Any]]:
    """A tensor's rows as ``kind``, in pieces. ``weighed``: [matrices, columns], what each column's error weighs."""
    if kind == tensor.type:
        yield rows
        return
    matrices = 1 if weighed is None else len(weighed)
    for number, matrix in enumerate(rows.reshape(matrices, -1, rows.shape[-1])):
        yield from _rounded_matrix(matrix, tensor, kind, None if weighed is None else weighed[number])


def _rounded_matrix(
    rows: np.ndarray[Any, Any], tensor: Tensor, kind: str, weights: np.ndarray[Any, Any] | None
) -> Iterator[np.ndarray[Any, Any]]:
    import numpy as np

    rows_at_once = max(1, _PIECE_ELEMENTS // tensor.shape[0])
    for start in range(0, len(rows), rows_at_once):
        values = as_float32(rows[start : start + rows_at_once], tensor)
        if not np.isfinite(values).all():
            raise QuantizeError(f"{tensor.name} holds weights that are not finite", next="train this variant again")
        rounded = rows_library().quantize_rows(values, TYPES[kind].number, weights)
        if kind == "F16" and not np.isfinite(rounded).all():
            raise QuantizeError(f"{tensor.name} holds weights too large for F16", next="choose gguf:BF16 instead")
        yield rounded
