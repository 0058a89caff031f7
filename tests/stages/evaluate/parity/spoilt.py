"""GGUF files that are spoilt in one way each, as they have been published."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from variantforge.stages.quantize.gguf_file import Field, GgufFile, write_gguf

TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
NORMAL = 1
_ARRAY_HEAD = 12  # type of the values and their count


def rewritten(source: Path, target: Path, change: Mapping[str, Field], without: str = "") -> Path:
    """The file with other header fields, and without the tensor named."""
    file = GgufFile.open(source)
    tensors = [tensor for name, tensor in file.tensors.items() if name != without]
    with open(target, "wb") as out:
        write_gguf(out, {**file.fields, **change}, tensors, ([file.data(tensor.name)] for tensor in tensors))
    return target


def with_pre_tokenizer(name: str) -> Callable[[Path, Path], Path]:
    return lambda source, target: rewritten(source, target, {"tokenizer.ggml.pre": Field.of(name)})


def with_template(change: Callable[[str], str]) -> Callable[[Path, Path], Path]:
    def spoil(source: Path, target: Path) -> Path:
        changed = Field.of(change(GgufFile.open(source).chat_template))
        return rewritten(source, target, {"tokenizer.chat_template": changed})

    return spoil


def with_normal_token(text: str) -> Callable[[Path, Path], Path]:
    """The control token ``text`` is typed as an ordinary one."""

    def spoil(source: Path, target: Path) -> Path:
        file = GgufFile.open(source)
        kind, raw = file.fields[TYPES]
        at = _ARRAY_HEAD + 4 * file.get(TOKENS).index(text)
        return rewritten(source, target, {TYPES: Field(kind, raw[:at] + struct.pack("<i", NORMAL) + raw[at + 4 :])})

    return spoil


def without_tensor(name: str) -> Callable[[Path, Path], Path]:
    return lambda source, target: rewritten(source, target, {}, without=name)


def with_damaged_block(tensor: str, block: int = 5) -> Callable[[Path, Path], Path]:
    """One block of a Q8_0 tensor (a scale of two bytes, 32 weights) has its weights turned round."""

    def spoil(source: Path, target: Path) -> Path:
        rewritten(source, target, {})
        data = GgufFile.open(target).data(tensor).reshape(-1)[block * 34 : (block + 1) * 34].tobytes()
        content = bytearray(target.read_bytes())
        at = content.index(data) + 2
        content[at : at + 32] = bytes(~byte & 0xFF for byte in data[2:])
        target.write_bytes(content)
        return target

    return spoil
