"""Reading a GGUF file's header without believing it: bounded, in pure Python, before any other parser sees the file.

The layout is that of ``ggml/include/gguf.h``: magic, version, counts, key-value pairs, tensor table, aligned data.
Everything llama.cpp would refuse is refused here, and what it would accept but nobody writes (a name with control
characters, a quarter of a million tensors) as well. No array is built but on request, so a header with 300,000
vocabulary entries is walked in a tenth of a second; memory does not grow with the file.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from variantforge.errors import BaseError
from variantforge.stages.base.gguf_format import BLOCKS, MAGIC, VERSIONS, Array, GgufHeader, Tensor

MAX_PAIRS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_KEY_BYTES = (1 << 16) - 1
MAX_STRING_BYTES = 1 << 24
MAX_ELEMENTS = 1 << 24
MAX_NAME_BYTES = 63  # GGML_MAX_NAME is 64, the closing zero included
MAX_DIMS = 4
MAX_ALIGNMENT = 1 << 16
SHORT_ARRAY = 64  # arrays up to this length are read at once


_STRING, _ARRAY, _BOOL, _UINT32 = 8, 9, 7, 4
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
_WIDTHS = {kind: struct.calcsize("<" + code) for kind, code in _SCALARS.items()}


class BadGguf(BaseError):
    """The file is not a well-formed GGUF file; ``why`` names the place."""


def is_gguf(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == MAGIC


def read_gguf_header(path: Path) -> GgufHeader:
    """Raises BadGguf, and nothing else, for a file that is not what a GGUF file must be."""
    if path.stat().st_size < 24:
        raise BadGguf(f"{path.name} is not a GGUF file", why="it is too short to hold even a header")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        try:
            return _Reader(view).header()
        except _Malformed as error:
            raise BadGguf(
                f"{path.name} is not a well-formed GGUF file",
                why=f"{error} (at byte {error.at:,})" if error.at >= 0 else str(error),
                next="fetch the file again and compare its SHA-256 with the publisher's",
            ) from None


class _Malformed(Exception):
    def __init__(self, text: str, at: int = -1) -> None:
        super().__init__(text)
        self.at = at


class _Reader:
    """A position in the mapped file; every read is checked against the end first."""

    def __init__(self, view: mmap.mmap) -> None:
        self.view, self.size, self.at = view, len(view), 0

    def header(self) -> GgufHeader:
        version, tensor_count, pair_count = self.prologue()
        metadata, pairs = self.metadata(pair_count)
        alignment = _alignment(metadata)
        _check_metadata(metadata)
        table_start = self.at
        rows = [self.tensor_row() for _ in range(tensor_count)]
        table = (table_start, self.at)
        data_start = _padded(self.at, alignment)
        tensors = tuple(self.laid_out(rows, data_start, alignment))
        return GgufHeader(version, metadata, pairs, tensors, table, data_start, alignment)

    def prologue(self) -> tuple[int, int, int]:
        if self.take(4) != MAGIC:
            raise _Malformed("it does not begin with the letters GGUF", 0)
        version = self.number("I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            what = "is big-endian" if swapped in VERSIONS else f"has version {version}"
            raise _Malformed(f"it {what}; versions 2 and 3, little-endian, are known", 4)
        tensors, pairs = self.number("Q"), self.number("Q")
        if pairs > min(MAX_PAIRS, self.left // 13):
            raise _Malformed(f"it claims {pairs:,} key-value pairs", 16)
        if not 0 < tensors <= min(MAX_TENSORS, self.left // 32):
            raise _Malformed(f"it claims {tensors:,} tensors", 8)
        return version, tensors, pairs

    def metadata(self, count: int) -> tuple[dict[str, Any], dict[str, tuple[int, int]]]:
        values: dict[str, Any] = {}
        places: dict[str, tuple[int, int]] = {}
        for _ in range(count):
            start = self.at
            key = self.string(MAX_KEY_BYTES, "a key")
            if not key or not key.isprintable():
                raise _Malformed(f"key {key[:40]!r} is empty or unprintable", start)
            if key in values:
                raise _Malformed(f"key {key!r} stands twice", start)
            values[key] = self.value(self.number("I"), key)
            places[key] = (start, self.at)
        return values, places

    def value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self.string(MAX_STRING_BYTES, key)
        if kind == _ARRAY:
            return self.array(key)
        if kind not in _SCALARS:
            raise _Malformed(f"{key!r} has the unknown type {kind}", self.at - 4)
        number = self.number(_SCALARS[kind])
        if kind == _BOOL:
            if number > 1:
                raise _Malformed(f"{key!r} is neither true nor false", self.at - 1)
            return bool(number)
        return number

    def array(self, key: str) -> Any:
        kind, count = self.number("I"), self.number("Q")
        width = 8 if kind == _STRING else _WIDTHS.get(kind, 0)
        if not width:
            raise _Malformed(f"{key!r} is an array of the unknown or unsupported type {kind}", self.at - 12)
        if count > min(MAX_ELEMENTS, self.left // width):
            raise _Malformed(f"{key!r} claims {count:,} elements", self.at - 8)
        start = self.at
        if count <= SHORT_ARRAY:
            return [self.value(kind, key) for _ in range(count)]
        if kind == _STRING:
            self.skip_strings(count, key)
        else:
            self.at += count * width
        return Array(kind, count, start, self.at)

    def skip_strings(self, count: int, key: str) -> None:
        view, at, last = self.view, self.at, self.size - 8
        unpack = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at > last:
                raise _Malformed(f"the array {key!r} runs past the end of the file", at)
            (length,) = unpack(view, at)
            if length > MAX_STRING_BYTES:
                raise _Malformed(f"a string of {key!r} claims {length:,} bytes", at)
            at += 8 + length
        if at > self.size:
            raise _Malformed(f"the array {key!r} runs past the end of the file", self.at)
        self.at = at

    def tensor_row(self) -> tuple[str, tuple[int, ...], int, int, int]:
        """Name, shape, ggml type, offset in the data, and where the row stands."""
        start = self.at
        name = self.string(MAX_NAME_BYTES, "a tensor's name")
        if not name or not name.isprintable():
            raise _Malformed(f"tensor name {name!r} is empty or unprintable", start)
        count = self.number("I")
        if not 1 <= count <= MAX_DIMS:
            raise _Malformed(f"tensor {name!r} claims {count:,} dimensions", self.at - 4)
        shape = tuple(self.number("Q") for _ in range(count))
        if not all(0 < size < 1 << 48 for size in shape) or math.prod(shape) >= 1 << 63:
            raise _Malformed(f"tensor {name!r} claims the shape {list(shape)}", start)
        return name, shape, self.number("I"), self.number("Q"), start

    def laid_out(
        self, rows: list[tuple[str, tuple[int, ...], int, int, int]], data_start: int, alignment: int
    ) -> Iterator[Tensor]:
        """Tensors follow each other without holes or overlaps, as llama.cpp demands."""
        names: set[str] = set()
        expected = 0
        for name, shape, kind, offset, row in rows:
            if name in names:
                raise _Malformed(f"tensor {name!r} stands twice", row)
            names.add(name)
            if kind not in BLOCKS:
                raise _Malformed(f"tensor {name!r} has the unknown type {kind}", row)
            type_name, block, block_bytes = BLOCKS[kind]
            if shape[0] % block:
                raise _Malformed(f"tensor {name!r}: rows of {shape[0]} do not divide into {type_name} blocks", row)
            size_bytes = math.prod(shape) // block * block_bytes
            if offset != expected:
                raise _Malformed(f"tensor {name!r} begins at {offset:,} of the data instead of {expected:,}", row)
            if data_start + offset + size_bytes > self.size:
                raise _Malformed(f"tensor {name!r} reaches past the end of the file: it is cut short", row)
            expected = _padded(offset + size_bytes, alignment)
            yield Tensor(name, shape, type_name, data_start + offset, size_bytes)

    @property
    def left(self) -> int:
        return self.size - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _Malformed("it ends in the middle of its header", self.at)
        taken = self.view[self.at : self.at + count]
        self.at += count
        return taken

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self, limit: int, what: str) -> str:
        start = self.at
        length = self.number("Q")
        if length > limit:
            raise _Malformed(f"{what} claims {length:,} bytes", start)
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise _Malformed(f"{what} is not UTF-8", start) from None


def _padded(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment


def _alignment(metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise _Malformed(f"its alignment {str(alignment)[:40]!r} is not a power of two up to {MAX_ALIGNMENT:,}")
    return alignment


def _check_metadata(metadata: dict[str, Any]) -> None:
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture.replace("-", "").replace("_", "").isalnum():
        raise _Malformed("it does not name its architecture (general.architecture)")
    for key, value in metadata.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _Malformed(f"{key!r} is not a finite number")
    parts = metadata.get("split.count", 1)
    if parts not in (0, 1):
        raise _Malformed(f"it is one of {parts} parts: join them with 'llama-gguf-split --merge' first")
