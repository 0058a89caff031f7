"""ggml's words: types of tensors, tensors, and types of files such as Q4_K_M."""

from __future__ import annotations

import re
from math import prod
from typing import Literal, NamedTuple

from variantforge.stages.base.gguf_format import BLOCKS


class TensorType(NamedTuple):
    """``number`` in files, elements of a ``block``, bytes of a block."""

    number: int
    block: int
    block_bytes: int


TYPES = {name: TensorType(number, block, size) for number, (name, block, size) in BLOCKS.items()}
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
    def is_matrix(self) -> bool:
        return any(length > 1 for length in self.shape[1:])

    @property
    def is_stacked(self) -> bool:
        """Several matrices in one tensor, as those of a mixture's experts are."""
        return len(self.shape) > 2 and self.shape[2] > 1

    @property
    def layer(self) -> int:
        """The number in ``blk.N.``; -1 outside the layers."""
        inside = re.match(r"blk\.(\d+)\.", self.name)
        return int(inside[1]) if inside else -1


class FileType(NamedTuple):
    """``number`` is general.file_type (llama_ftype), ``usual`` the type of most tensors.

    ``imatrix``: whether rounding reads an importance matrix ("takes"), or llama.cpp refuses to go without one
    ("needs"): below three bits a weight, all weights rounded alike are worth nothing.
    """

    number: int
    usual: str
    imatrix: Literal["", "takes", "needs"] = ""


FILE_TYPES = {  # the one people use most comes first
    "Q4_K_M": FileType(15, "Q4_K", "takes"),
    "Q4_K_S": FileType(14, "Q4_K", "takes"),
    "Q5_K_M": FileType(17, "Q5_K", "takes"),
    "Q5_K_S": FileType(16, "Q5_K", "takes"),
    "Q6_K": FileType(18, "Q6_K", "takes"),
    "Q8_0": FileType(7, "Q8_0"),
    "Q3_K_L": FileType(13, "Q3_K", "takes"),
    "Q3_K_M": FileType(12, "Q3_K", "takes"),
    "Q3_K_S": FileType(11, "Q3_K", "takes"),
    "Q2_K": FileType(10, "Q2_K", "takes"),
    "Q2_K_S": FileType(21, "Q2_K", "needs"),
    "IQ4_XS": FileType(30, "IQ4_XS", "takes"),
    "IQ4_NL": FileType(25, "IQ4_NL", "takes"),
    "IQ3_M": FileType(27, "IQ3_S", "takes"),
    "IQ3_S": FileType(26, "IQ3_S", "takes"),
    "IQ3_XS": FileType(22, "IQ3_S", "needs"),
    "IQ3_XXS": FileType(23, "IQ3_XXS", "needs"),
    "IQ2_M": FileType(29, "IQ2_S", "needs"),
    "IQ2_S": FileType(28, "IQ2_XS", "needs"),
    "IQ2_XS": FileType(20, "IQ2_XS", "needs"),
    "IQ2_XXS": FileType(19, "IQ2_XXS", "needs"),
    "IQ1_M": FileType(31, "IQ1_M", "needs"),
    "IQ1_S": FileType(24, "IQ1_S", "needs"),
    "Q4_0": FileType(2, "Q4_0", "takes"),
    "Q4_1": FileType(3, "Q4_1", "takes"),
    "Q5_0": FileType(8, "Q5_0", "takes"),
    "Q5_1": FileType(9, "Q5_1", "takes"),
    "TQ1_0": FileType(36, "TQ1_0"),
    "TQ2_0": FileType(37, "TQ2_0"),
    "MXFP4_MOE": FileType(38, "Q8_0"),
    "BF16": FileType(32, "BF16"),
    "F16": FileType(1, "F16"),
    "F32": FileType(0, "F32"),
}
