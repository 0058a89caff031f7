"""GGUF files of any architecture without a model behind them: what a quantizer sees, in a few milliseconds.

Values come from SHAKE-256 of each tensor's name, so they are the same for ever and on every machine.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from variantforge.stages.quantize.gguf_file import Field, write_gguf
from variantforge.stages.quantize.gguf_mix import is_quantized
from variantforge.stages.quantize.gguf_recipes import ModelShape
from variantforge.stages.quantize.gguf_types import FILE_TYPES, Tensor
from variantforge.stages.quantize.imatrix import Entry, Imatrix

_F32 = 6


@dataclass(frozen=True)
class Synthetic:
    """``width`` is the length of a row, ``inner`` that of ffn_down's, ``rows`` the height of all matrices."""

    architecture: str = "llama"
    layers: int = 2
    width: int = 256
    inner: int = 512
    rows: int = 16
    heads: int = 4
    value_heads: int = 2
    experts: int = 0
    tied: bool = False

    def write(self, path: Path) -> Path:
        tensors = list(self.tensors())
        with open(path, "wb") as file:
            write_gguf(file, self.fields(), tensors, ([values_of(tensor)] for tensor in tensors))
        return path

    @property
    def shape(self) -> ModelShape:
        return ModelShape(self.architecture, self.layers, self.heads, self.value_heads, self.experts)

    def fields(self) -> dict[str, Field]:
        numbers = {
            "block_count": self.layers,
            "context_length": 128,
            "embedding_length": self.width,
            "feed_forward_length": self.inner,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.value_heads,
            "rope.dimension_count": self.width // self.heads,
            "vocab_size": self.rows,
            **({"expert_count": self.experts, "expert_used_count": 2} if self.experts else {}),
        }
        epsilon = Field(_F32, struct.pack("<f", 1e-6))
        epsilons = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon")
        return {
            "general.architecture": Field.of(self.architecture),
            "general.name": Field.of("synthetic"),
            **{f"{self.architecture}.{name}": Field.of(number) for name, number in numbers.items()},
            **{f"{self.architecture}.{name}": epsilon for name in epsilons},
            "general.file_type": Field.of(FILE_TYPES["BF16"].number),
            "general.quantization_version": Field.of(2),
            "tokenizer.ggml.model": Field.of("gpt2"),
        }

    def tensors(self) -> Iterator[Tensor]:
        yield self.matrix("token_embd")
        for layer in range(self.layers):
            for part in self.parts():
                yield part._replace(name=f"blk.{layer}.{part.name}")
        yield Tensor("output_norm.weight", (self.width,), "F32")
        if not self.tied:
            yield self.matrix("output")

    def parts(self) -> Iterator[Tensor]:
        """One layer, in an order that is not the quantizer's."""
        yield Tensor("attn_norm.weight", (self.width,), "F32")
        for name in ("attn_qkv",) if self.architecture == "falcon" else ("attn_q", "attn_k", "attn_v"):
            yield self.matrix(name)
        yield self.matrix("attn_output")
        if self.experts:
            yield Tensor("ffn_gate_inp.weight", (self.width, self.experts), "F32")
            for name, columns in (("ffn_up", self.width), ("ffn_gate", self.width), ("ffn_down", self.inner)):
                yield Tensor(f"{name}_exps.weight", (columns, self.rows, self.experts), "BF16")
        else:
            yield self.matrix("ffn_up")
            yield self.matrix("ffn_gate")
            yield self.matrix("ffn_down", self.inner)

    def matrix(self, name: str, columns: int = 0) -> Tensor:
        return Tensor(f"{name}.weight", (columns or self.width, self.rows), "BF16")


def values_of(tensor: Tensor) -> np.ndarray:
    """The sum of four random bytes each: nearly normal, standard deviation 0.018, as bf16 or float32 bytes."""
    random = np.frombuffer(hashlib.shake_256(tensor.name.encode()).digest(4 * tensor.elements), np.uint8)
    values = (random.reshape(-1, 4).sum(axis=1, dtype=np.int32) - 510).astype(np.float32) / 8192
    return values if tensor.type == "F32" else (values.view(np.uint32) >> 16).astype(np.uint16)


def imatrix_of(model: Synthetic) -> Imatrix:
    """An importance matrix of all layers, with columns of very different weight; the last expert read nothing."""
    entries = {}
    for tensor in model.tensors():
        if tensor.layer >= 0 and is_quantized(tensor):
            matrices = tensor.shape[2] if tensor.is_stacked else 1
            random = hashlib.shake_256(f"{tensor.name} imatrix".encode()).digest(matrices * tensor.shape[0])
            sums = np.exp2(np.frombuffer(random, np.uint8).reshape(matrices, -1).astype(np.float32) / 32)
            counts = np.full(matrices, 100, np.float32)
            if matrices > 1:
                sums[-1], counts[-1] = 0, 0
            entries[tensor.name] = Entry(sums, counts)
    return Imatrix(entries, ("rows",), 3)


MODELS = {
    "llama, tied": Synthetic(layers=9, rows=2, tied=True),
    "llama of 20 layers, one head per value": Synthetic(layers=20, rows=2, value_heads=4),
    "qwen3, four heads per value": Synthetic("qwen3", layers=17, rows=2, heads=8, value_heads=2),
    "rows of 576, as in SmolLM2": Synthetic(layers=8, width=576, inner=1536, rows=2, heads=9, value_heads=3, tied=True),
    "rows of 48, that nothing divides": Synthetic(layers=2, width=64, inner=48, rows=2, tied=True),
    "qwen2 of 80 layers": Synthetic("qwen2", layers=80, heads=8, value_heads=1, rows=2),
    "llama of 80 layers": Synthetic(layers=80, heads=8, value_heads=1, rows=2),
    "mixtral, eight experts": Synthetic(layers=17, experts=8, rows=2),
    "qwen3moe, sixteen experts": Synthetic("qwen3moe", layers=17, experts=16, rows=2),
    "falcon": Synthetic("falcon", layers=20, heads=4, value_heads=1, rows=2),
}
# To compare what is rounded: experts, and rows of 576 beside rows of 256.
ROUNDED = Synthetic("qwen3moe", layers=1, experts=4, rows=3, inner=576)
