"""A folder of safetensors as clean bf16 safetensors: one file after the other, so memory holds one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from variantforge.errors import BaseError
from variantforge.fsops import write_json
from variantforge.stages.base.files import INDEX, weight_files
from variantforge.stages.base.safetensors_header import TensorInfo

_NOT_KEPT = (
    *("quantization_config", "auto_map", "custom_pipelines", "trust_remote_code"),
    *("torch_dtype", "attn_implementation"),
)
_FLOATS = ("F64", "F32", "F16", "BF16")

Progress = Callable[[int, int], None]


def clean_config(config: dict[str, Any]) -> dict[str, Any]:
    """config.json without what points elsewhere or chooses code, every dtype in it bfloat16."""
    kept = {key: value for key, value in config.items() if key not in _NOT_KEPT and not key.startswith("_")}
    for key, value in kept.items():
        if isinstance(value, dict) and "hidden_size" in value:
            kept[key] = clean_config(value)
    return kept | {"dtype": "bfloat16"}


def write_weights(
    folder: Path, tensors: dict[str, TensorInfo], model: Path, drop: set[str], progress: Progress
) -> None:
    """Converts every weight file of ``folder`` into ``model``. Raises BaseError for values that are not finite and for
    dtypes that are not plain floating point."""
    odd = sorted({info.dtype for info in tensors.values()} - {*_FLOATS, "I64", "I32", "U8", "BOOL"})
    if odd:
        raise BaseError(
            f"{folder.name}/ holds {odd[0]} tensors: it is quantized already", next="use the original model as base"
        )
    files = weight_files(folder)
    placed: dict[str, str] = {}
    for path in files:
        target = model / ("model.safetensors" if len(files) == 1 else path.name)
        names = _convert(path, target, drop)
        placed |= dict.fromkeys(names, target.name)
        progress(sum(tensors[name].elements for name in placed), sum(info.elements for info in tensors.values()))
    if len(files) > 1:
        size_bytes = sum(tensors[name].elements * 2 for name in placed)
        write_json(model / INDEX, {"metadata": {"total_size": size_bytes}, "weight_map": placed})


def _convert(source: Path, target: Path, drop: set[str]) -> list[str]:
    from safetensors import safe_open
    from safetensors.torch import save_file

    kept: dict[str, Any] = {}
    with safe_open(source, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  not a dict
            if name not in drop:
                kept[name] = bf16(file.get_tensor(name), name)
    if kept:
        save_file(kept, target, metadata={"format": "pt"})
    return list(kept)


def tied_copies(folder: Path, tied: Mapping[str, str], tensors: dict[str, TensorInfo]) -> set[str]:
    """Tensors that only repeat the one they are tied to. Raises BaseError when such a copy differs: then the config
    says one thing and the weights another."""
    import torch

    copies = {name for name, source in tied.items() if name in tensors and source in tensors}
    for name in copies:
        if not torch.equal(_one_tensor(folder, name), _one_tensor(folder, tied[name])):
            raise BaseError(
                f"{folder.name}/: {name} differs from {tied[name]}, to which config.json ties it",
                next="set tie_word_embeddings to false in config.json if the model has a head of its own",
            )
    return copies


def _one_tensor(folder: Path, name: str) -> Any:
    from safetensors import safe_open

    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            if name in file.keys():  # noqa: SIM118  not a dict
                return file.get_tensor(name)
    raise BaseError(f"{folder.name}/: tensor {name!r} is missing")


def bf16(tensor: Any, name: str) -> Any:
    """The tensor in bf16 (integers as they are). Raises BaseError when a value is NaN or infinite, or becomes so."""
    import torch

    if not tensor.is_floating_point():
        return tensor.contiguous()
    tensor = tensor.to(torch.bfloat16).contiguous()
    refuse_nonfinite(tensor, name)
    return tensor


def refuse_nonfinite(tensor: Any, name: str) -> None:
    import torch

    # aminmax lets a NaN through to its result, and takes a twentieth of the time of isfinite over every element.
    if tensor.numel() and not all(torch.isfinite(bound) for bound in torch.aminmax(tensor.detach())):
        raise BaseError(
            f"the base's tensor {name!r} holds values that are not numbers (NaN or infinite)",
            next="fetch the model again; if its files match the publisher's digests, it cannot be used",
        )
