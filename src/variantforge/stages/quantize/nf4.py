"""``nf4``: a transformers folder in bitsandbytes' 4-bit NormalFloat, as QLoRA uses it (doubly quantized, bf16 compute).

Embeddings and the output head stay in bf16. Made on the CPU, so that equal models give equal bytes everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import QuantizeError
from variantforge.fsops import copy_file
from variantforge.stages.base.safetensors_header import read_safetensors_header
from variantforge.stages.models import load_model, quiet
from variantforge.stages.stage import Desk
from variantforge.step import StepContext

if TYPE_CHECKING:
    import torch

_COPIED = ("tokenizer*", "*.jinja", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt")
_PROBE_TOKENS = 32


class Nf4:
    types: tuple[str, ...] = ()

    def inputs(self, desk: Desk, variant: str, type: str) -> Mapping[str, str]:
        return {}

    def do(self, context: StepContext) -> None:
        source, target = context.inputs["model"].path / "model", context.out / "model"
        context.progress(0, 3, "phase")
        model = _quantized(source)
        context.progress(1, 3, "phase")
        with quiet():  # before any forward pass: on some CPUs the first one packs the weights anew, and loses bits
            model.save_pretrained(target)
        _copy_tokenizer(source, target)
        context.progress(2, 3, "phase")
        reloaded = load_model(target, dtype="bfloat16", device="cpu")
        _check_same(_logits(model), _logits(reloaded))
        context.write_facts(_facts(target, reloaded))
        context.progress(3, 3, "phase")


def _quantized(source: Path) -> torch.nn.Module:
    """The model with its linear layers in NF4, in memory. Raises QuantizeError."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    try:
        with quiet():
            model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
                source,
                quantization_config=nf4,
                dtype=torch.bfloat16,
                device_map={"": "cpu"},
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
    except ImportError as error:
        raise QuantizeError("nf4 needs bitsandbytes", why=str(error), next="pip install bitsandbytes") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise QuantizeError("the merged model could not be quantized to NF4", why=str(error)) from error
    return model.eval()


def _logits(model: torch.nn.Module) -> torch.Tensor:
    """What the model says to a few fixed tokens: ``[tokens, vocabulary]``."""
    import torch

    vocabulary = model.get_input_embeddings().num_embeddings
    tokens = torch.arange(_PROBE_TOKENS).mul(7919).remainder(vocabulary)[None]  # spread over the vocabulary
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=tokens).logits[0].float()
    return logits


def _check_same(expected: torch.Tensor, found: torch.Tensor) -> None:
    if not expected.isfinite().all():
        raise QuantizeError("the NF4 model gives values that are not finite", next="quantize to another format")
    if not expected.equal(found):
        raise QuantizeError(
            "the saved NF4 folder does not give the same answers as the model in memory",
            why=f"largest difference of a logit: {(expected - found).abs().max().item():.3g}",
            next="pip install --upgrade bitsandbytes transformers, then run it again",
        )


def _copy_tokenizer(source: Path, target: Path) -> None:
    for pattern in _COPIED:
        for file in source.glob(pattern):
            copy_file(file, target / file.name)


def _facts(target: Path, model: torch.nn.Module) -> dict[str, Any]:
    parts = sorted(target.glob("*.safetensors"))
    parameters = model.num_parameters()
    return {
        "format": "nf4",
        "file": "model",
        "size_bytes": sum(part.stat().st_size for part in parts),
        "bits_per_weight": round(8 * sum(map(_data_bytes, parts)) / parameters, 4),
        "tensor_types": dict(sorted(Counter(_types(parts)).items())),
    }


def _data_bytes(part: Path) -> int:
    """Bytes of a safetensors file behind its header (8 bytes of length, then that many)."""
    with open(part, "rb") as file:
        return part.stat().st_size - 8 - int.from_bytes(file.read(8), "little")


def _types(parts: list[Path]) -> Iterator[str]:
    """The type of each weight; what bitsandbytes keeps beside one (``q_proj.weight.absmax``, ...) is no weight."""
    for part in parts:
        for name, tensor in read_safetensors_header(part).items():
            if ".weight." not in name:
                yield "NF4" if tensor.dtype == "U8" else tensor.dtype
