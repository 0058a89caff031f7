"""ggml's words: types of tensors, tensors, and types of files such as Q4_K_M."""

from __future__ import annotations

import re
from math import prod
from typing import NamedTuple


class TensorType(NamedTuple):
    """``number`` in files, elements of a ``block``, bytes of a block."""

    number: int
    block: int
    block_bytes: int


TYPES = {
    "F32": TensorType(0, 1, 4),
    "F16": TensorType(1, 1, 2),
    "Q4_0": TensorType(2, 32, 18),
    "Q4_1": TensorType(3, 32, 20),
    "Q5_0": TensorType(6, 32, 22),
    "Q5_1": TensorType(7, 32, 24),
    "Q8_0": TensorType(8, 32, 34),
    "Q2_K": TensorType(10, 256, 84),
    "Q3_K": TensorType(11, 256, 110),
    "Q4_K": TensorType(12, 256, 144),
    "Q5_K": TensorType(13, 256, 176),
    "Q6_K": TensorType(14, 256, 210),
    "I8": TensorType(24, 1, 1),
    "I16": TensorType(25, 1, 2),
    "I32": TensorType(26, 1, 4),
    "I64": TensorType(27, 1, 8),
    "F64": TensorType(28, 1, 8),
    "BF16": TensorType(30, 1, 2),
}
_NAMES = {kind.number: name for name, kind in TYPES.items()}


def type_name(number: int) -> str:
    """Raises ValueError for a type that variantforge neither writes nor reads."""
    if number not in _NAMES:
        raise ValueError(f"tensor type {number} is not known")
    return _NAMES[number]


class Tensor(NamedTuple):
    """One entry of a file's tensor table. ``shape`` is ggml's: the length of a row comes first."""

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.elements // TYPES[self.type].block * TYPES[self.type].block_bytes

    @property
    def layer(self) -> int:
        """The number in ``blk.N.``; -1 outside the layers."""
        inside = re.match(r"blk\.(\d+)\.", self.name)
        return int(inside[1]) if inside else -1


class FileType(NamedTuple):
    """``number`` is general.file_type (llama_ftype), ``usual`` the type of most tensors."""

    number: int
    usual: str


FILE_TYPES = {  # the one people use most comes first
    "Q4_K_M": FileType(15, "Q4_K"),
    "Q4_K_S": FileType(14, "Q4_K"),
    "Q5_K_M": FileType(17, "Q5_K"),
    "Q5_K_S": FileType(16, "Q5_K"),
    "Q6_K": FileType(18, "Q6_K"),
    "Q8_0": FileType(7, "Q8_0"),
    "Q3_K_M": FileType(12, "Q3_K"),
    "Q2_K": FileType(10, "Q2_K"),
    "BF16": FileType(32, "BF16"),
    "F16": FileType(1, "F16"),
}
