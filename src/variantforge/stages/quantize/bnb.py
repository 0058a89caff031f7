"""``nf4`` and ``int8``: transformers folders as bitsandbytes quantizes them.

``nf4`` is 4-bit NormalFloat as QLoRA uses it (doubly quantized, bf16 compute; https://arxiv.org/abs/2305.14314);
``int8`` is LLM.int8() (a scale per row, features beyond a threshold in 16 bit; https://arxiv.org/abs/2208.07339).
Embeddings and the output head stay in bf16. Made on the CPU, so that equal models give equal bytes everywhere.

No model is held: transformers maps files of weights and quantizes tensor by tensor, what comes out is kept on disk and
mapped from there, and saving writes what is mapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from variantforge.errors import QuantizeError, VariantforgeError
from variantforge.fsops import telling_disk_errors
from variantforge.stages.base.safetensors_header import TensorInfo
from variantforge.stages.layers import give_back_what_is_free
from variantforge.stages.models import load_model, quiet
from variantforge.stages.quantize.folder import (
    copy_tokenizer,
    folder_facts,
    probe_logits,
    refuse_quantized,
)
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
        with kept_on_disk(context.scratch):
            model = self._quantized(source)
        context.progress(1, 3, "phase")
        with quiet():  # before any forward pass: on some CPUs the first one packs the weights anew, and loses bits
            model.save_pretrained(target)
        copy_tokenizer(source, target)
        context.progress(2, 3, "phase")
        reloaded = load_model(target, dtype="bfloat16", device="cpu")
        with quiet():
            _check_same(self.format, *(probe_logits(_not_packed(one)) for one in (model, reloaded)))
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


@contextmanager
def kept_on_disk(folder: Path) -> Iterator[None]:
    """Inside, transformers keeps what bitsandbytes makes of a weight in ``folder``, in files without a name.

    Raises OutOfSpace when they do not fit there.
    """
    from transformers.integrations.bitsandbytes import Bnb4bitQuantize, Bnb8bitQuantize

    before = {operation: operation.convert for operation in (Bnb4bitQuantize, Bnb8bitQuantize)}
    refused: list[VariantforgeError] = []  # by the disk; transformers gathers errors and raises one of its own

    def convert(self: Any, *args: Any, **named: Any) -> Any:
        made = before[type(self)](self, *args, **named)
        try:
            for weight in made.values():
                weight.data = _mapped(weight.data, folder / "weight")
                if hasattr(weight, "CB"):  # what int8 calls them, too
                    weight.CB = weight.data
        except VariantforgeError as error:
            refused.append(error)
            raise
        give_back_what_is_free()
        return made

    try:
        for operation in before:
            operation.convert = convert
        yield
    except QuantizeError:
        if refused:
            raise refused[0] from None
        raise
    finally:
        for operation, original in before.items():
            operation.convert = original


def _mapped(tensor: torch.Tensor, path: Path) -> torch.Tensor:
    """The same values, mapped from a file: its pages are the system's to take back."""
    import torch

    with telling_disk_errors(path), open(path, "wb") as file:
        file.write(memoryview(tensor.contiguous().numpy()))
    mapped = torch.from_file(str(path), shared=False, size=tensor.numel(), dtype=tensor.dtype).view(tensor.shape)
    path.unlink()  # it lasts for as long as it is mapped
    return mapped


def _not_packed(model: torch.nn.Module) -> torch.nn.Module:
    """On CPUs with AVX-512 BF16, running a 4-bit layer would leave a copy of its weights, packed otherwise."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


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
