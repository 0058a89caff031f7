"""An importance matrix: how strongly each column of each weight matrix is used, as llama.cpp keeps it in a file.

For every matrix W that multiplies activations x, the file has the sum of x² over all tokens (``NAME.in_sum2``, one
value a column; one row of them for each expert of a mixture) and how many tokens were summed (``NAME.counts``). The
mean of x² weighs the error of each column when W is rounded. Format: llama.cpp, tools/imatrix/imatrix.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from variantforge.errors import QuantizeError
from variantforge.fsops import writing
from variantforge.stages.quantize.gguf_file import Field, GgufFile, write_gguf
from variantforge.stages.quantize.gguf_types import Tensor

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float32]]

FILE = "imatrix.gguf"
CHUNK_TOKENS = 512  # llama-imatrix counts what it read in chunks of this size
_SUMS, _COUNTS = ".in_sum2", ".counts"


class Entry(NamedTuple):
    """Of one tensor. ``sums``: [matrices, columns]; ``counts``: [matrices]; matrices are experts, else there is one."""

    sums: Floats
    counts: Floats

    def weights(self) -> Floats:
        """Mean of x² [matrices, columns], as float32; 1 throughout for an expert that read no token."""
        import numpy as np

        counts = np.rint(self.counts)[:, None].astype(np.float32)
        return np.where(counts > 0, self.sums / np.maximum(counts, 1), np.float32(1))


@dataclass(frozen=True)
class Imatrix:
    """``datasets``: names of what was read; ``chunks``: how much of it, in pieces of ``CHUNK_TOKENS``."""

    entries: Mapping[str, Entry]
    datasets: tuple[str, ...]
    chunks: int

    def weights_for(self, tensor: Tensor) -> Floats | None:
        """[matrices, columns] for a tensor of the file to quantize; None when nothing is known of it.

        Raises QuantizeError when what is known is of another shape.
        """
        entry = self.entries.get(tensor.name)
        if entry is None:
            return None
        wanted = (tensor.shape[2] if tensor.is_stacked else 1, tensor.shape[0])
        if entry.sums.shape != wanted:
            raise QuantizeError(
                f"the importance matrix does not fit {tensor.name}: {entry.sums.shape} instead of {wanted}",
                next="run it again: the importance matrix belongs to another model",
            )
        return entry.weights()

    @property
    def fields(self) -> dict[str, Field]:
        """What a quantized file tells of it, in llama-quantize's words and order."""
        told = {"quantize.imatrix.file": Field.of(FILE)}
        if self.datasets:
            told["quantize.imatrix.dataset"] = Field.of(self.datasets[0])
        told["quantize.imatrix.entries_count"] = Field.of(len(self.entries))
        if self.chunks > 0:
            told["quantize.imatrix.chunks_count"] = Field.of(self.chunks)
        return told


def write_imatrix(path: Path, imatrix: Imatrix) -> None:
    """Writes the file as ``llama-imatrix`` does: two tensors for each entry, in the order of their names."""
    fields = {
        "general.type": Field.of("imatrix"),
        "imatrix.datasets": Field.of(list(imatrix.datasets)),
        "imatrix.chunk_count": Field.of(imatrix.chunks),
        "imatrix.chunk_size": Field.of(CHUNK_TOKENS),
    }
    tensors, data = [], []
    for name, entry in sorted(imatrix.entries.items()):
        matrices, columns = entry.sums.shape
        tensors += [
            Tensor(f"{name}{_SUMS}", (columns, matrices) if matrices > 1 else (columns,), "F32"),
            Tensor(f"{name}{_COUNTS}", (1, matrices) if matrices > 1 else (1,), "F32"),
        ]
        data += [[entry.sums.astype("<f4")], [entry.counts.astype("<f4")]]
    with writing(path) as file:
        write_gguf(file, fields, tensors, data)


def read_imatrix(path: Path) -> Imatrix:
    """Reads a file of ours or of ``llama-imatrix``. Raises QuantizeError when it is not one, or has odd values."""
    file = GgufFile.open(path)
    names = [name.removesuffix(_SUMS) for name in file.tensors if name.endswith(_SUMS)]
    if not names or any(name + _COUNTS not in file.tensors for name in names):
        raise QuantizeError(f"{path.name} is no importance matrix", next="make it again")
    entries = {name: _entry(file, name) for name in names}
    return Imatrix(entries, tuple(file.get("imatrix.datasets", [])), int(file.get("imatrix.chunk_count", 0)))


def _entry(file: GgufFile, name: str) -> Entry:
    import numpy as np

    counts = file.data(name + _COUNTS).view("<f4").reshape(-1)
    sums = file.data(name + _SUMS).view("<f4").reshape(len(counts), -1)
    if not (np.isfinite(sums).all() and np.isfinite(counts).all()):
        raise QuantizeError(f"the importance of {name} is not finite", next="train this variant again")
    return Entry(sums, counts)
