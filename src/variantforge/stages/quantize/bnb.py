"""``nf4`` and ``int8``: transformers folders as bitsandbytes quantizes them.

``nf4`` is 4-bit NormalFloat as QLoRA uses it (doubly quantized, bf16 compute; https://arxiv.org/abs/2305.14314);
``int8`` is LLM.int8() (a scale per row, features beyond a threshold in 16 bit; https://arxiv.org/abs/2208.07339).
Embeddings and the output head stay in bf16. Made on the CPU, so that equal models give equal bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from variantforge.errors import QuantizeError
from variantforge.stages.base.safetensors_header import TensorInfo
from variantforge.stages.models import load_model, quiet
from variantforge.stages.quantize.folder import copy_tokenizer, folder_facts, probe_logits, refuse_quantized
from variantforge.stages.quantize.machine import Answer, Machine, rests_on
from variantforge.stages.stage import Desk
from variantforge.step import StepContext

if TYPE_CHECKING:
    import torch

_BESIDE_INT8 = (
    ".SCB",
    ".weight_format",
)  # what bitsandbytes keeps beside an int8 weight; beside NF4: weight.absmax ...


class BitsAndBytes:
    """One of bitsandbytes' formats: what it is called, how it is asked for, and the type its weights are stored in."""

    types: tuple[str, ...] = ()
    format: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]]
    stored: ClassVar[str]

    def answer(self, machine: Machine) -> Answer:
        return rests_on(machine, "bitsandbytes", "qlora")

    def inputs(self, desk: Desk, variant: str, type: str) -> Mapping[str, str]:
        return {}

    def do(self, context: StepContext) -> None:
        source, target = context.inputs["model"].path / "model", context.out / "model"
        refuse_quantized(source)
        context.progress(0, 3, "phase")
        model = self._quantized(source)
        context.progress(1, 3, "phase")
        with quiet():  # before any forward pass: on some CPUs the first one packs the weights anew, and loses bits
            model.save_pretrained(target)
        copy_tokenizer(source, target)
        context.progress(2, 3, "phase")
        reloaded = load_model(target, dtype="bfloat16", device="cpu")
        with quiet():
            _check_same(self.format, probe_logits(model), probe_logits(reloaded))
        context.write_facts(folder_facts(self.format, target, reloaded.num_parameters(), self._type))
        context.progress(3, 3, "phase")

    def _quantized(self, source: Path) -> torch.nn.Module:
        """The model with its linear layers quantized, in memory. Raises QuantizeError."""
        import torch
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        try:
            with quiet():
                model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
                    source,
                    quantization_config=BitsAndBytesConfig(**self.settings),
                    dtype=torch.bfloat16,
                    device_map={"": "cpu"},
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                )
        except ImportError as error:
            what = f"{self.format} needs bitsandbytes"
            raise QuantizeError(what, why=str(error), next="pip install bitsandbytes") from error
        except (OSError, ValueError, RuntimeError) as error:
            what = f"the merged model could not be quantized to {self.format}"
            raise QuantizeError(what, why=str(error)) from error
        return model.eval()

    def _type(self, name: str, tensor: TensorInfo) -> str | None:
        if ".weight." in name or name.endswith(_BESIDE_INT8):
            return None
        return self.format.upper() if tensor.dtype == self.stored else tensor.dtype


class Nf4(BitsAndBytes):
    format, stored = "nf4", "U8"
    settings: ClassVar[Mapping[str, Any]] = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16",
    }


class Int8(BitsAndBytes):
    format, stored = "int8", "I8"
    settings: ClassVar[Mapping[str, Any]] = {"load_in_8bit": True}


def _check_same(format: str, expected: torch.Tensor, found: torch.Tensor) -> None:
    if not expected.isfinite().all():
        what = f"the {format.upper()} model gives values that are not finite"
        raise QuantizeError(what, next="quantize to another format")
    if not expected.equal(found):
        raise QuantizeError(
            f"the saved {format.upper()} folder does not give the same answers as the model in memory",
            why=f"largest difference of a logit: {(expected - found).abs().max().item():.3g}",
            next="pip install --upgrade bitsandbytes transformers, then run it again",
        )
