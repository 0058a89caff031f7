"""The importance matrix of a merged model: what its matrices multiply while it reads the calibration rows.

Every product of activations and a weight matrix is watched as torch computes it, whoever asks for it: linear layers,
and the experts of a mixture, whose matrices are slices of one parameter. Only sums are kept: memory is that of the
model and of one row. Same figures as ``llama-imatrix``, which watches the same products in llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from variantforge.errors import Interrupted, QuantizeError
from variantforge.stages.quantize.calibration import CALIBRATION, calibration_rows
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_mix import is_quantized
from variantforge.stages.quantize.gguf_types import Tensor
from variantforge.stages.quantize.imatrix import CHUNK_TOKENS, FILE, Entry, Imatrix, write_imatrix
from variantforge.stages.quantize.read import dequantized
from variantforge.step import StepContext

if TYPE_CHECKING:
    import torch

_LAYER = re.compile(r"\blayers\.(\d+)\.")
_OF_EXPERTS = {  # end of a parameter's name in transformers -> tensors of a GGUF file that read the same activations
    "experts.gate_up_proj": ("ffn_gate_exps", "ffn_up_exps", "ffn_gate_up_exps"),
    "experts.down_proj": ("ffn_down_exps",),
}
_SAME_NORM = 1e-3  # bf16 in both files; float32 sums in another order


def compute_importance(context: StepContext, source: GgufFile) -> None:
    """Does the step: ``imatrix.gguf`` of ``inputs["model"]`` over ``inputs["calibration"]``, for tensors of ``source``.

    Raises QuantizeError when transformers' matrices are not those of the GGUF file.
    """
    from variantforge.stages.models import device, load_model

    target = device()
    dtype = "float32" if target.type == "cpu" else "bfloat16"
    model = load_model(context.inputs["model"].path / "model", dtype=dtype, device=str(target))
    sums = importance_of(model, source, _watched(context))
    tokens = context.inputs[CALIBRATION].facts["tokens"]
    entries = {name: one.entry() for name, one in sums.items() if any(one.counts)}
    chunks = max(1, tokens // CHUNK_TOKENS)
    write_imatrix(context.out / FILE, Imatrix(entries, (CALIBRATION,), chunks))
    _tell_gaps(context, source, entries)
    unread = sum(int((entry.counts == 0).sum()) for entry in entries.values())
    context.write_facts({"file": FILE, "tokens": tokens, "entries": len(entries), "unread": unread})


def _watched(context: StepContext) -> Iterator[list[int]]:
    """The rows, with progress."""
    total, done = context.inputs[CALIBRATION].facts["tokens"], 0
    for ids in calibration_rows(context):
        yield ids
        done += len(ids)
        context.progress(done, total, "token")
        if context.stopping():
            raise Interrupted("stopped while computing the importance matrix")


def importance_of(model: Any, source: GgufFile, rows: Iterable[list[int]]) -> dict[str, Sums]:
    """Sums for each tensor of ``source`` whose matrices the model multiplies with. ``rows``: token ids."""
    import torch

    matrices = list(matrices_of(model, source))
    _check_same(matrices, source)
    sums, slots = _slots(matrices)
    if hasattr(model.config, "_experts_implementation"):
        model.set_experts_implementation("eager")  # one product an expert; the others do not tell whose it is
    limit = getattr(model.config, "max_position_embeddings", None)
    body = model.base_model  # without the head: logits would be the largest tensor of all, and nobody reads them
    with torch.inference_mode(), _watching(slots):
        for ids in rows:
            body(input_ids=torch.tensor([ids[:limit]], device=model.device), use_cache=False)
    return sums


class Matrices(NamedTuple):
    """A parameter of the model, one matrix or one for each expert, and the tensors of the file that it became."""

    weight: torch.Tensor
    tensors: list[Tensor]


def matrices_of(model: Any, source: GgufFile) -> Iterator[Matrices]:
    """Parameters that became matrices in the layers of ``source``, by the names that llama.cpp gives them."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    arch = next((arch for arch, name in MODEL_ARCH_NAMES.items() if name == source.architecture), None)
    known = get_tensor_name_map(arch, source.shape.layers) if arch is not None else None
    for name, weight in model.named_parameters():
        told = known.get_name(name, try_suffixes=(".weight",)) if known else None
        names = _names_of_experts(name) or ([told] if told else [])
        tensors = [source.tensors[name] for name in names if name in source.tensors]
        if inside := [tensor for tensor in tensors if tensor.layer >= 0 and tensor.is_matrix]:
            yield Matrices(weight, inside)


def _names_of_experts(name: str) -> list[str]:
    """Names in a GGUF file of a parameter that holds matrices of all experts; [] of any other."""
    inside = _LAYER.search(name)
    parts = next((parts for end, parts in _OF_EXPERTS.items() if name.endswith(end)), ())
    return [f"blk.{inside[1]}.{part}.weight" for part in parts] if inside else []


def _check_same(matrices: Iterable[Matrices], source: GgufFile) -> None:
    """Columns of the model's matrices are those of the file's, in their order: looked at in the first and last layer.

    Raises QuantizeError: what is known of one column would weigh another.
    """
    for weight, tensors in matrices:
        if tensors[0].layer not in (0, source.shape.layers - 1):
            continue
        theirs = sum(_column_squares(torch_of(source, tensor), -1) for tensor in tensors)
        ours = [_column_squares(weight, axis) for axis in (-1, -2)]
        if not any(_alike(squares.cpu(), theirs) for squares in ours):
            raise QuantizeError(
                f"the columns of {tensors[0].name} do not lie as in the model: its importance cannot be told",
                next="choose types of four bits or more, and take 'calibration' away from this variant",
            )


def torch_of(source: GgufFile, tensor: Tensor) -> torch.Tensor:
    import torch

    return torch.from_numpy(dequantized(source, tensor.name))


def _column_squares(weight: torch.Tensor, axis: int) -> torch.Tensor:
    """Sum of squares of each column; ``axis``: where columns are counted."""
    return weight.detach().float().square().movedim(axis, -1).reshape(-1, weight.shape[axis]).sum(0)


def _alike(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return ours.shape == theirs.shape and bool(ours.allclose(theirs, rtol=_SAME_NORM))


# --- watching ---------------------------------------------------------------------------------------------------------


class Sums:
    """Of x² over the tokens that one tensor of the file multiplied: [matrices, columns], and how many those were."""

    def __init__(self, matrices: int, columns: int, device: torch.device) -> None:
        import torch

        self.sums = torch.zeros(matrices, columns, device=device)
        self.counts = [0] * matrices

    def add(self, matrix: int, activations: torch.Tensor) -> None:
        rows = activations.reshape(-1, activations.shape[-1])
        self.sums[matrix] += rows.float().square().sum(0)
        self.counts[matrix] += len(rows)

    def entry(self) -> Entry:
        import numpy as np

        return Entry(self.sums.cpu().numpy(), np.array(self.counts, np.float32))


Slots = dict[int, list[tuple[Sums, int]]]  # address of a matrix -> whose sums it adds to, and as which matrix


def _slots(matrices: Iterable[Matrices]) -> tuple[dict[str, Sums], Slots]:
    sums: dict[str, Sums] = {}
    slots: Slots = {}
    for weight, tensors in matrices:
        stacked = weight if weight.ndim > 2 else weight[None]
        for tensor in tensors:
            sums[tensor.name] = Sums(len(stacked), tensor.shape[0], weight.device)
            for number, matrix in enumerate(stacked):
                slots.setdefault(matrix.data_ptr(), []).append((sums[tensor.name], number))
    return sums, slots


def _watching(slots: Slots) -> Any:
    """A context in which every product with one of the matrices adds to its sums."""
    import torch
    from torch.overrides import TorchFunctionMode

    products = {torch.nn.functional.linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}

    class Watching(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in products and len(args) > 1:
                for sums, matrix in slots.get(args[1].data_ptr(), ()):
                    sums.add(matrix, args[0])
            return func(*args, **(kwargs or {}))

    return Watching()


def _tell_gaps(context: StepContext, source: GgufFile, entries: Mapping[str, Entry]) -> None:
    """Notes experts that read nothing, and matrices that were never seen."""
    idle = [name for name, entry in entries.items() if (entry.counts == 0).any()]
    if idle:
        context.note(
            f"some experts read no token of the calibration rows, in {len(idle)} tensors, e.g. {idle[0]}: "
            "their columns weigh alike; more tokens, or rows of more kinds, would reach them"
        )
    rounded = [name for name, tensor in source.tensors.items() if tensor.layer >= 0 and is_quantized(tensor)]
    if missing := [name for name in rounded if name not in entries]:
        context.note(f"nothing is known of {len(missing)} tensors, e.g. {missing[0]}: their columns weigh alike")
