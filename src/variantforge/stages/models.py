"""Loading a causal language model from a folder on disk: one way for every stage.

Local files only, safetensors only, no code from the folder, eval mode, and nothing printed.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import BaseError
from variantforge.stages.packed_weights import is_packed, whole_weights

if TYPE_CHECKING:
    import torch

_LIBRARIES = ("transformers", "accelerate", "bitsandbytes", "peft", "huggingface_hub", "torch")


def device() -> torch.device:
    """The accelerator that torch finds on this machine (CUDA, NPU, XPU, MPS, ...), else the CPU."""
    import torch

    if torch.accelerator.is_available():
        return torch.device(torch.accelerator.current_accelerator())
    return torch.device("cpu")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Libraries show no bars, and no warnings below an error, inside this block."""
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    loggers = {name: logging.getLogger(name) for name in _LIBRARIES}
    levels = {name: logger.level for name, logger in loggers.items()}
    try:
        transformers_logging.disable_progress_bar()
        for logger in loggers.values():
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, logger in loggers.items():
            logger.setLevel(levels[name])
        if bars:
            transformers_logging.enable_progress_bar()


def load_model(
    folder: Path, *, dtype: str = "float32", device: str | Mapping[str, str] | None = None, offload: Path | None = None
) -> torch.nn.Module:
    """The causal language model in ``folder``, in eval mode on ``device`` (the CPU when not named).

    ``device`` may also name one for each part, ``disk`` among them; what cannot be read where it lies is then put into
    the folder ``offload``.

    A folder that holds a quantized model loads the same way; ``dtype`` is then that of its unquantized parts, but for
    bitsandbytes', which transformers leaves in the type that they were saved in. GPTQ and AWQ weights, whose packages
    are not ours, are loaded as what they stand for.
    Raises BaseError when the folder cannot be loaded, or when tensors are missing, left over or of another shape:
    transformers alone would fill missing ones with random numbers.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

    with quiet():
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            if is_packed(getattr(config, "quantization_config", None)):
                loader, given = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], _of_packed(folder, config)
            else:
                loader, given = AutoModelForCausalLM, {"pretrained_model_name_or_path": folder}
            model, report = loader.from_pretrained(
                dtype=getattr(torch, dtype),
                device_map={"": device} if isinstance(device, str) else device,
                offload_folder=offload,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **given,
            )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise BaseError(f"{folder.name}/ cannot be loaded as a causal language model", why=str(error)) from error
    _refuse_gaps(folder, report)
    model.eval()
    return model


def empty_model(folder: Path) -> torch.nn.Module:
    """The causal language model in ``folder`` without its weights: names and shapes only."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with quiet(), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model: torch.nn.Module = AutoModelForCausalLM.from_config(config, trust_remote_code=False, dtype=torch.bfloat16)
    return model


def _of_packed(folder: Path, config: Any) -> dict[str, Any]:
    settings = config.quantization_config
    del config.quantization_config
    weights = whole_weights(folder, settings)
    return {"pretrained_model_name_or_path": None, "config": config, "state_dict": weights}


def _refuse_gaps(folder: Path, report: dict[str, Any]) -> None:
    for name, complaint in (
        ("missing_keys", "tensors are missing"),
        ("unexpected_keys", "tensors have no place in the model"),
        ("mismatched_keys", "tensors have another shape than the config says"),
    ):
        if found := sorted(str(key) for key in report.get(name, ())):
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise BaseError(f"{folder.name}/: {len(found)} {complaint}", why=", ".join(found[:3]) + more)
