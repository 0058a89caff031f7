"""A GGUF file as it lies on disk: header fields, tensor table, data. Reading maps the file; nothing is copied.

Layout (ggml's docs/gguf.md, version 3, little endian): magic, version, counts; fields ``key, kind, value``;
one entry per tensor ``name, dimensions (columns first), type, offset``; then the data, each tensor aligned.
Fields are kept as the bytes they are, so that a file written from another one's fields repeats them exactly.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from variantforge.errors import QuantizeError
from variantforge.stages.quantize.gguf_recipes import ModelShape
from variantforge.stages.quantize.gguf_types import TYPES, Tensor, type_name

if TYPE_CHECKING:
    import numpy as np

ALIGNMENT = 32  # bytes; ggml's default, and what llama-quantize always writes
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_U32, _STRING, _ARRAY = 4, 8, 9


class Field(NamedTuple):
    """One header field: ``kind`` (ggml's value type) and ``raw``, its value as bytes."""

    kind: int
    raw: bytes

    @classmethod
    def of(cls, value: int | str | list[str]) -> Field:
        """A field holding an unsigned 32-bit number, a text, or a list of texts."""
        if isinstance(value, list):
            return cls(_ARRAY, struct.pack("<IQ", _STRING, len(value)) + b"".join(map(_text, value)))
        if isinstance(value, str):
            text = value.encode()
            return cls(_STRING, struct.pack("<Q", len(text)) + text)
        return cls(_U32, struct.pack("<I", value))

    @property
    def value(self) -> Any:
        """The number, text or list it holds."""
        return _Cursor(self.raw).value(self.kind)


class _Cursor:
    """Walks over the header's bytes."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.data, self.at = data, 0

    def number(self, code: str) -> Any:
        value = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += struct.calcsize("<" + code)
        return value

    def text(self) -> str:
        length = self.number("Q")
        start, self.at = self.at, self.at + length
        if self.at > len(self.data):
            raise struct.error("text runs past the end")
        return bytes(self.data[start : self.at]).decode("utf-8", "surrogateescape")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner in (_STRING, _ARRAY):
                return [self.value(inner) for _ in range(count)]
            values = struct.unpack_from(f"<{count}{_SCALARS[inner]}", self.data, self.at)
            self.at += struct.calcsize(f"<{count}{_SCALARS[inner]}")
            return list(values)
        return self.number(_SCALARS[kind])

    def skip(self, kind: int) -> None:
        """Moves past a value without building it (a vocabulary holds 100,000 texts and more)."""
        if kind == _ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner == _STRING:
                self.at = _after_texts(self.data, self.at, count)
            elif inner == _ARRAY:
                for _ in range(count):
                    self.skip(inner)
            else:
                self.at += count * struct.calcsize("<" + _SCALARS[inner])
        elif kind == _STRING:
            length = self.number("Q")  # read first: it moves ``at`` itself
            self.at += length
        else:
            self.at += struct.calcsize("<" + _SCALARS[kind])


def _after_texts(data: bytes | mmap.mmap, at: int, count: int) -> int:
    """Where ``count`` texts that begin at ``at`` end."""
    length_at = struct.Struct("<Q").unpack_from
    for _ in range(count):
        at += 8 + length_at(data, at)[0]
    return at


@dataclass(frozen=True)
class GgufFile:
    """An open file. ``tensors`` stand in the order of the file."""

    path: Path
    fields: Mapping[str, Field]
    tensors: Mapping[str, Tensor]
    _starts: Mapping[str, int]
    _bytes: mmap.mmap

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Raises QuantizeError when the file is not a whole GGUF file of known types."""
        try:
            with open(path, "rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return cls(path, *_read_header(data), data)
        except (struct.error, LookupError, ValueError, ArithmeticError, MemoryError, RecursionError) as error:
            raise QuantizeError(
                f"{path.name} is not a whole GGUF file", why=str(error), next="make it again, or get a fresh copy"
            ) from error

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a header field."""
        return self.fields[key].value if key in self.fields else default

    @property
    def architecture(self) -> str:
        return str(self.get("general.architecture", ""))

    def hyperparameter(self, name: str, default: Any = None) -> Any:
        """A field of the model's own architecture: ``hyperparameter("block_count")`` reads ``llama.block_count``."""
        return self.get(f"{self.architecture}.{name}", default)

    @property
    def chat_template(self) -> str:
        return str(self.get("tokenizer.chat_template", ""))

    def data(self, name: str) -> np.ndarray[Any, Any]:
        """A tensor's bytes, mapped from the file, as ``[rows, bytes per row]``."""
        import numpy as np

        tensor = self.tensors[name]
        flat = np.frombuffer(self._bytes, np.uint8, tensor.size_bytes, self._starts[name])
        return flat.reshape(tensor.elements // tensor.shape[0], -1)

    @property
    def shape(self) -> ModelShape:
        """What llama.cpp's choice of types depends on. Per-layer head counts: the first layer's, as there."""
        heads = _first(self.hyperparameter("attention.head_count", 0))
        return ModelShape(
            architecture=self.architecture,
            layers=self.hyperparameter("block_count", 0),
            heads=heads,
            value_heads=_first(self.hyperparameter("attention.head_count_kv", heads)),
            experts=self.hyperparameter("expert_count", 0),
        )

    @property
    def bits_per_weight(self) -> float:
        """Bits of tensor data per element, over the whole file."""
        tensors = self.tensors.values()
        return 8 * sum(t.size_bytes for t in tensors) / sum(t.elements for t in tensors)


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, list) else value)


def _read_header(data: mmap.mmap) -> tuple[dict[str, Field], dict[str, Tensor], dict[str, int]]:
    cursor = _Cursor(data)
    if data[:4] != b"GGUF":
        raise ValueError("it does not begin with 'GGUF'")
    cursor.at = 4
    if (version := cursor.number("I")) not in _VERSIONS:
        raise ValueError(f"its format version is {version}; known: 2 and 3, little endian")
    tensor_count, field_count = cursor.number("Q"), cursor.number("Q")
    fields = dict(_read_field(cursor) for _ in range(field_count))
    table = [_read_tensor(cursor) for _ in range(tensor_count)]
    alignment = fields["general.alignment"].value if "general.alignment" in fields else ALIGNMENT
    begin = _padded(cursor.at, alignment)
    for tensor, offset in table:
        if begin + offset + tensor.size_bytes > len(data):
            raise ValueError(f"it ends before the data of {tensor.name}")
    return fields, {t.name: t for t, _ in table}, {t.name: begin + offset for t, offset in table}


def _read_field(cursor: _Cursor) -> tuple[str, Field]:
    key, kind = cursor.text(), cursor.number("I")
    start = cursor.at
    cursor.skip(kind)
    return key, Field(kind, cursor.data[start : cursor.at])


def _read_tensor(cursor: _Cursor) -> tuple[Tensor, int]:
    name, dimensions = cursor.text(), cursor.number("I")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))
    return Tensor(name, shape, type_name(cursor.number("I"))), cursor.number("Q")


def write_gguf(
    file: IO[bytes], fields: Mapping[str, Field], tensors: Sequence[Tensor], data: Iterable[Iterable[Any]]
) -> None:
    """Writes a whole file. ``data`` gives each tensor's bytes in pieces (arrays); they are asked for one by one."""
    file.write(_header(fields, tensors))
    for tensor, pieces in zip(tensors, data, strict=True):
        size_bytes = sum(file.write(memoryview(piece).cast("B")) for piece in pieces)
        if size_bytes != tensor.size_bytes:
            raise QuantizeError(f"{tensor.name}: {size_bytes} bytes made, {tensor.size_bytes} expected")
        file.write(bytes(_padded(size_bytes) - size_bytes))


def _header(fields: Mapping[str, Field], tensors: Sequence[Tensor]) -> bytes:
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(fields))]
    for key, field in fields.items():
        parts += [_text(key), struct.pack("<I", field.kind), field.raw]
    for tensor, offset in zip(tensors, _offsets(tensors), strict=True):
        dimensions = len(tensor.shape)
        table = struct.pack(f"<I{dimensions}QIQ", dimensions, *tensor.shape, TYPES[tensor.type].number, offset)
        parts += [_text(tensor.name), table]
    header = b"".join(parts)
    return header + bytes(_padded(len(header)) - len(header))


def _offsets(tensors: Iterable[Tensor]) -> Iterator[int]:
    offset = 0
    for tensor in tensors:
        yield offset
        offset += _padded(tensor.size_bytes)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(encoded)) + encoded


def _padded(size: int, alignment: int = ALIGNMENT) -> int:
    return -(-size // alignment) * alignment
