"""What a GGUF file is made of: block sizes of its tensor types, and a header that was read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

MAGIC = b"GGUF"
VERSIONS = (2, 3)

# ggml type -> (name, elements in a block, bytes of a block): those that files hold; ggml/src/ggml-common.h
BLOCKS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """``shape`` is in the file's order (fastest first); ``start`` counts from the beginning of the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    start: int
    size_bytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Array:
    """An array too long to be read at once: ``of`` is its GGUF type, ``start``..``end`` where its elements lie."""

    of: int
    count: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """``metadata``: key -> value (short arrays as lists, long ones as ``Array``); ``pairs``: key -> place of a pair."""

    version: int
    metadata: dict[str, Any]
    pairs: dict[str, tuple[int, int]]
    tensors: tuple[Tensor, ...]
    tensor_table: tuple[int, int]
    data_start: int
    alignment: int

    @property
    def architecture(self) -> str:
        return str(self.metadata["general.architecture"])

    def text(self, key: str) -> str:
        """The string at a key, or '' when there is none or it is something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def length(self, key: str) -> int:
        """How many elements the array at a key has (0 when there is none)."""
        value = self.metadata.get(key)
        return value.count if isinstance(value, Array) else len(value) if isinstance(value, list) else 0

    @property
    def elements(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)
