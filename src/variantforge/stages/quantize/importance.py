"""The importance matrix of a merged model: what its matrices multiply while it reads the calibration rows.

Every product of activations and a weight matrix is watched as torch computes it, whoever asks for it: linear layers,
and the experts of a mixture, whose matrices are slices of one parameter. Only sums are kept. On a CPU the layers of a
model in several files are read as they run, so memory is that of one layer, the embeddings and one row. Same figures as
``llama-imatrix``, which watches the same products in llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from variantforge.errors import Interrupted, QuantizeError
from variantforge.stages.quantize.calibration import CALIBRATION, calibration_rows
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_mix import is_quantized
from variantforge.stages.quantize.gguf_types import Tensor
from variantforge.stages.quantize.imatrix import CHUNK_TOKENS, FILE, Entry, Imatrix, write_imatrix
from variantforge.stages.quantize.products import Matrices, Sums, Watch, matrices_of
from variantforge.stages.quantize.read import dequantized
from variantforge.step import StepContext

if TYPE_CHECKING:
    import torch

_SAME_NORM = 1e-3  # bf16 in both files; float32 sums in another order


def compute_importance(context: StepContext, source: GgufFile) -> None:
    """Does the step: ``imatrix.gguf`` of ``inputs["model"]`` over ``inputs["calibration"]``, for tensors of ``source``.

    Raises QuantizeError when transformers' matrices are not those of the GGUF file.
    """
    sums = importance_of(_loaded(context), source, _watched(context))
    tokens = context.inputs[CALIBRATION].facts["tokens"]
    entries = {name: one.entry() for name, one in sums.items() if any(one.counts)}
    chunks = max(1, tokens // CHUNK_TOKENS)
    write_imatrix(context.out / FILE, Imatrix(entries, (CALIBRATION,), chunks))
    _tell_gaps(context, source, entries)
    unread = sum(int((entry.counts == 0).sum()) for entry in entries.values())
    context.write_facts({"file": FILE, "tokens": tokens, "entries": len(entries), "unread": unread})


def _loaded(context: StepContext) -> Any:
    from variantforge.stages.layers import load_by_layers
    from variantforge.stages.models import device, load_model

    folder, target = context.inputs["model"].path / "model", device()
    if target.type == "cpu":
        return load_by_layers(folder, context.scratch / "layers")
    return load_model(folder, dtype="bfloat16", device=str(target))


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
    watch = Watch(matrices, model.device)
    if hasattr(model.config, "_experts_implementation"):
        model.set_experts_implementation("eager")  # one product an expert; the others do not tell whose it is
    limit = getattr(model.config, "max_position_embeddings", None)
    body = model.base_model  # without the head: logits would be the largest tensor of all, and nobody reads them
    with torch.inference_mode(), watch.at_work():
        for ids in rows:
            body(input_ids=torch.tensor([ids[:limit]], device=model.device), use_cache=False)
    return watch.sums


def _check_same(matrices: Iterable[Matrices], source: GgufFile) -> None:
    """Columns of the model's matrices are those of the file's, in their order: looked at in the first and last layer.

    Raises QuantizeError: what is known of one column would weigh another.
    """
    from accelerate.utils import align_module_device

    for one in matrices:
        tensors = one.tensors
        if tensors[0].layer not in (0, source.shape.layers - 1):
            continue
        theirs = sum(_column_squares(torch_of(source, tensor), -1) for tensor in tensors)
        with align_module_device(one.module):
            ours = [_column_squares(one.weight, axis) for axis in (-1, -2)]
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
