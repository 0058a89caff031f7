"""Whether every block of a GGUF file's tensors lies as near to the merged weights as its type rounds.

A quantizer rounds each block of a row (32 or 256 weights) by itself. With ``b`` bits a weight, the error of a block
over its norm is about ``2**-(b-1)``; of all blocks of SmolLM2-135M in Q8_0 the worst came to four times that
(benchmarks/parity.py). A block whose bytes are spoilt is as far off as it is long, or further: so one in a million is
found, also where no held-out row reads it.

With an importance matrix, a block is rounded for the columns that matter, and may lie as far from the others as it is
long. Only what is further off than that explains is refused then; the rest is for the divergence to tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from variantforge.errors import WeightsDamaged
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_types import TYPES
from variantforge.stages.quantize.read import NOT_WEIGHTS, hf_name, is_known

if TYPE_CHECKING:
    import torch

_TIMES_USUAL, _LEAST, _MOST = 6.0, 0.005, 0.95
_FEWEST_BITS = 2.1  # below it, types are that far off without being broken
_GUIDED = 2.0  # Q2_K reached 1.6 with weights of importance that differ by e^12 and more
_NEVER_GUIDED = frozenset({"F32", "F16", "BF16", "Q8_0", "TQ1_0", "TQ2_0"})  # ggml rounds these without looking at it
_IMATRIX = "quantize.imatrix.entries_count"  # llama-quantize's own note in the file
_TINY = 1e-3  # of the tensor's root mean square: blocks of smaller weights may all become zero


class Block(NamedTuple):
    """``error``: distance over norm, ``limit``: the most that rounding explains."""

    tensor: str
    row: int
    column: int
    error: float
    limit: float


def check_weights(file: GgufFile, state: dict[str, torch.Tensor], merged: torch.nn.Module) -> dict[str, Any]:
    """The worst block beside its limit, as facts. ``state``: the file's weights under transformers' names.

    Raises WeightsDamaged for tensors that the file lacks, and for blocks beyond their limit.
    """
    types, wanted = _types(file, merged.config.model_type), dict(merged.state_dict())
    once = {tensor.data_ptr(): name for name, tensor in reversed(state.items())}  # a tied head is the embeddings
    guided = _IMATRIX in file.fields
    worst = [
        _worst(name, state[name], wanted[name], types.get(name), guided) for name in once.values() if name in wanted
    ]
    broken = sorted((one for one in worst if not one.error <= one.limit), key=lambda one: -one.error / one.limit)
    if broken:
        first = broken[0]
        raise WeightsDamaged(
            f"{file.path.name}: {len(broken)} tensors are not the merged model's; the worst is {first.tensor}",
            why=f"The weights from row {first.row}, column {first.column} on are {first.error:.3g} of their own length "
            f"away from the merged ones; rounding explains {first.limit:.2g} at most.",
            next="quantize this variant again; if it stays so, use another llama.cpp or another type",
        )
    near = max(worst, key=lambda one: one.error / one.limit)
    return {
        "worst_block": near.tensor,
        "worst_block_error": round(near.error, 4),
        "worst_block_limit": round(near.limit, 4),
    }


def limit_of(type: str, *, guided: bool) -> float:
    """The largest error over norm of a block of this type. ``guided``: by an importance matrix."""
    if guided and type not in _NEVER_GUIDED:
        return _GUIDED
    bits = 8 * TYPES[type].block_bytes / TYPES[type].block
    usual = _TIMES_USUAL * 2 ** -(bits - 1)
    return max(_LEAST, usual if bits < _FEWEST_BITS else min(usual, _MOST))


def _types(file: GgufFile, model_type: str) -> dict[str, str]:
    """transformers' name -> the type that the file stores it in; {} where nobody knows the file's names."""
    if not is_known(file, model_type):
        return {}
    types = {hf_name(name): tensor.type for name, tensor in file.tensors.items() if name not in NOT_WEIGHTS}
    return {"lm_head.weight": types.get("model.embed_tokens.weight", ""), **types}


def check_head(file: GgufFile, config: Any) -> None:
    """Raises WeightsDamaged: llama.cpp takes the embeddings for a head that is not there, without a word."""
    if not config.tie_word_embeddings and "output.weight" not in file.tensors:
        raise WeightsDamaged(
            f"{file.path.name} has lost the output head",
            why="The model's head is not tied to its embeddings (tie_word_embeddings: false), and the file has no "
            "output.weight: llama.cpp would use the embeddings in its place.",
            next="quantize this variant again from its merged model",
        )


def _worst(name: str, found: torch.Tensor, wanted: torch.Tensor, type: str | None, guided: bool) -> Block:
    """The block with the largest error over norm."""
    import torch

    columns = found.shape[-1]
    known = TYPES[type] if type else None
    width = known.block if known and known.block > 1 and columns % known.block == 0 else columns
    limit = limit_of(type, guided=guided) if type else _MOST
    found, wanted = found.float().reshape(-1, width), wanted.float().reshape(-1, width)
    off = (found - wanted).norm(dim=1)
    floor = _TINY * float(wanted.square().mean().sqrt()) * width**0.5 + 1e-12
    error = torch.nan_to_num(off / wanted.norm(dim=1).clamp(min=floor), nan=float("inf"))
    place = int(error.argmax())
    per_row = columns // width
    return Block(name, place // per_row, place % per_row * width, float(error[place]), limit)
