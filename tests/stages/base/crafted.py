"""GGUF and safetensors files written byte by byte: well-formed ones, and every way to be wrong."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

STRING, ARRAY, UINT32, FLOAT32, BOOL = 8, 9, 4, 6, 7


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def string(key: str, value: str | bytes) -> bytes:
    return pair(key, STRING, text(value))


def strings(key: str, values: Sequence[str]) -> bytes:
    return pair(key, ARRAY, struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values)))


def tensor(name: str | bytes, shape: Sequence[int], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


@dataclass(frozen=True)
class Gguf:
    """A small well-formed file; ``replace`` one part to make it wrong in one way."""

    magic: bytes = b"GGUF"
    version: int = 3
    pairs: tuple[bytes, ...] = (
        string("general.architecture", "llama"),
        pair("llama.block_count", UINT32, struct.pack("<I", 1)),
        strings("tokenizer.ggml.tokens", [f"token{number}" for number in range(100)]),
    )
    tensors: tuple[bytes, ...] = (tensor("token_embd.weight", (8, 4)), tensor("output_norm.weight", (8,), offset=128))
    pair_count: int | None = None
    tensor_count: int | None = None
    alignment: int = 32
    data: bytes = bytes(160)

    def build(self) -> bytes:
        counts = (
            len(self.tensors) if self.tensor_count is None else self.tensor_count,
            len(self.pairs) if self.pair_count is None else self.pair_count,
        )
        head = self.magic + struct.pack("<IQQ", self.version, *counts) + b"".join(self.pairs) + b"".join(self.tensors)
        return head + bytes(-len(head) % self.alignment) + self.data

    def with_pair(self, *more: bytes) -> Gguf:
        return replace(self, pairs=(*self.pairs, *more))

    def with_tensors(self, *rows: bytes) -> Gguf:
        return replace(self, tensors=rows)


GOOD = Gguf()
HUGE = 1 << 62

BAD_GGUF: dict[str, bytes | Gguf] = {
    "empty file": b"",
    "only the magic": b"GGUF",
    "another magic": replace(GOOD, magic=b"GGML"),
    "version 1": replace(GOOD, version=1),
    "version 4": replace(GOOD, version=4),
    "big-endian": replace(GOOD, version=0x03000000),
    "negative number of pairs": replace(GOOD, pair_count=(1 << 64) - 1),
    "more pairs than bytes": replace(GOOD, pair_count=60_000),
    "exabytes of tensors": replace(GOOD, tensor_count=HUGE),
    "no tensors": replace(GOOD, tensors=(), tensor_count=0),
    "one tensor fewer than claimed": replace(GOOD, tensor_count=3),
    "no architecture": replace(GOOD, pairs=GOOD.pairs[1:]),
    "an architecture that is a number": replace(
        GOOD, pairs=(pair("general.architecture", UINT32, struct.pack("<I", 1)),)
    ),
    "an architecture that is a path": replace(GOOD, pairs=(string("general.architecture", "../../etc"),)),
    "a key twice": GOOD.with_pair(string("general.architecture", "qwen3")),
    "an empty key": GOOD.with_pair(string("", "x")),
    "a key with a zero byte": GOOD.with_pair(string("a\0b", "x")),
    "a key that is not UTF-8": GOOD.with_pair(pair(b"\xff\xfe", STRING, text("x"))),
    "a key of an exabyte": GOOD.with_pair(struct.pack("<Q", HUGE)),
    "a string longer than the file": GOOD.with_pair(pair("a", STRING, struct.pack("<Q", 1 << 20))),
    "a string of 2^64-1 bytes": GOOD.with_pair(pair("a", STRING, struct.pack("<Q", (1 << 64) - 1))),
    "a value of unknown type": GOOD.with_pair(pair("a", 13, b"")),
    "a truth value of 2": GOOD.with_pair(pair("a", BOOL, b"\x02")),
    "NaN": GOOD.with_pair(pair("a", FLOAT32, struct.pack("<f", float("nan")))),
    "an array of 2^62 numbers": GOOD.with_pair(pair("a", ARRAY, struct.pack("<IQ", UINT32, HUGE))),
    "an array of 2^62 strings": GOOD.with_pair(pair("a", ARRAY, struct.pack("<IQ", STRING, HUGE))),
    "an array of arrays": GOOD.with_pair(pair("a", ARRAY, struct.pack("<IQ", ARRAY, 1))),
    "an array of unknown type": GOOD.with_pair(pair("a", ARRAY, struct.pack("<IQ", 99, 1) + b"x")),
    "a long array whose strings leave the file": GOOD.with_pair(
        pair("a", ARRAY, struct.pack("<IQ", STRING, 65) + text("x") * 64 + struct.pack("<Q", 1 << 22))
    ),
    "alignment 0": GOOD.with_pair(pair("general.alignment", UINT32, struct.pack("<I", 0))),
    "alignment 48": GOOD.with_pair(pair("general.alignment", UINT32, struct.pack("<I", 48))),
    "alignment 2^31": GOOD.with_pair(pair("general.alignment", UINT32, struct.pack("<I", 1 << 31))),
    "alignment that is a text": GOOD.with_pair(string("general.alignment", "32")),
    "a part of several": GOOD.with_pair(pair("split.count", 2, struct.pack("<H", 3))),
    "a tensor twice": GOOD.with_tensors(tensor("a", (8, 4)), tensor("a", (8,), offset=128)),
    "a tensor without name": GOOD.with_tensors(tensor("", (8,))),
    "a tensor's name of 64 bytes": GOOD.with_tensors(tensor("n" * 64, (8,))),
    "a tensor's name with a line break": GOOD.with_tensors(tensor("a\nb", (8,))),
    "no dimensions": GOOD.with_tensors(tensor("a", ())),
    "five dimensions": GOOD.with_tensors(tensor("a", (1, 1, 1, 1, 8))),
    "four billion dimensions": GOOD.with_tensors(text("a") + struct.pack("<I", 0xFFFFFFFF) + bytes(64)),
    "a dimension of 0": GOOD.with_tensors(tensor("a", (0, 8))),
    "a size that overflows 64 bits": GOOD.with_tensors(tensor("a", (1 << 33, 1 << 33))),
    "an exabyte": GOOD.with_tensors(tensor("a", (1 << 47, 1 << 13))),
    "an unknown tensor type": GOOD.with_tensors(tensor("a", (8,), 99)),
    "a removed tensor type": GOOD.with_tensors(tensor("a", (32,), 4)),
    "rows that do not divide into blocks": GOOD.with_tensors(tensor("a", (8, 4), 2)),
    "an offset outside the file": GOOD.with_tensors(tensor("a", (8,), offset=1 << 40)),
    "an offset that is not aligned": GOOD.with_tensors(tensor("a", (8,)), tensor("b", (8,), offset=33)),
    "tensors that overlap": GOOD.with_tensors(tensor("a", (8, 4)), tensor("b", (8,), offset=32)),
    "a hole between tensors": GOOD.with_tensors(tensor("a", (8,)), tensor("b", (8,), offset=64)),
    "data cut short": replace(GOOD, data=bytes(159)),
    "no data at all": replace(GOOD, data=b""),
}


def gguf_bytes(crafted: bytes | Gguf) -> bytes:
    return crafted if isinstance(crafted, bytes) else crafted.build()


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def row(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


DATA = bytes(8)
BAD_SAFETENSORS: dict[str, bytes] = {
    "empty file": b"",
    "eight bytes": bytes(8),
    "a header of 2^63 bytes": safetensors({}, length=1 << 63),
    "a header longer than the file": safetensors({}, length=100),
    "a header over the limit": safetensors(b" " * 25_000_001),
    "a header that is not JSON": safetensors(b"{'a': 1}"),
    "a header that is not UTF-8": safetensors(b'{"\xff": 1}'),
    "a header that is a list": safetensors([1, 2]),
    "deep nesting": safetensors(b"[" * 100_000),
    "a key twice": safetensors(b'{"a": {"dtype":"F32","shape":[2],"data_offsets":[0,8]}, "a": 1}', DATA),
    "a dtype twice": safetensors(b'{"a": {"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}}', DATA),
    "a tensor that is a number": safetensors({"a": 1}),
    "an unknown dtype": safetensors({"a": row("F12")}, DATA),
    "a dtype that is a list": safetensors({"a": row(["F32"])}, DATA),
    "an unknown field": safetensors({"a": row(code="x")}, DATA),
    "no shape": safetensors({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, DATA),
    "a negative dimension": safetensors({"a": row(shape=[-2])}, DATA),
    "a dimension of 2.0": safetensors({"a": row(shape=[2.0])}, DATA),
    "a dimension that is true": safetensors({"a": row("BOOL", shape=[True], offsets=[0, 1])}, bytes(1)),
    "a shape that is a text": safetensors({"a": row(shape="2")}, DATA),
    "nine dimensions": safetensors({"a": row(shape=[1] * 8 + [2])}, DATA),
    "a dimension of 2^62": safetensors({"a": row(shape=[1 << 62])}, DATA),
    "offsets turned round": safetensors({"a": row(offsets=[8, 0])}, DATA),
    "three offsets": safetensors({"a": row(offsets=[0, 8, 8])}, DATA),
    "fewer bytes than the shape": safetensors({"a": row(offsets=[0, 4])}, bytes(4)),
    "data cut short": safetensors({"a": row()}, bytes(7)),
    "data left over": safetensors({"a": row()}, bytes(9)),
    "a hole at the start": safetensors({"a": row(offsets=[8, 16])}, bytes(16)),
    "a hole in the middle": safetensors({"a": row(), "b": row(offsets=[12, 20])}, bytes(20)),
    "an overlap": safetensors({"a": row(), "b": row(offsets=[4, 12])}, bytes(12)),
    "the same bytes twice": safetensors({"a": row(), "b": row()}, DATA),
}
