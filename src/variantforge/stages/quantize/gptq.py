"""``gptq`` and ``awq``: 4-bit weights by gptqmodel, rounded so that what layers say on calibration text stays the same.

gptqmodel's packages cannot live beside ours (it pins another numpy): it runs in an environment of its own. Its folder
is read here without it, so that evaluations judge the values that a server computes with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from variantforge.errors import QuantizeError
from variantforge.fsops import copy_file, make_folder, write_json
from variantforge.spec.family import VariantSpec
from variantforge.stages.base.safetensors_header import TensorInfo
from variantforge.stages.models import load_model
from variantforge.stages.packed_weights import PARTS, is_packed
from variantforge.stages.quantize.calibration import CALIBRATION, calibration_input
from variantforge.stages.quantize.calibration import FILE as CALIBRATION_FILE
from variantforge.stages.quantize.environment import LISTS, Environment
from variantforge.stages.quantize.folder import SETTINGS, copy_tokenizer, folder_facts, probe_logits, refuse_quantized
from variantforge.stages.quantize.machine import Accepted, Answer, Machine, Rejected
from variantforge.stages.quantize.schemes import fitting_group_size, layers_of
from variantforge.stages.stage import Desk
from variantforge.step import StepContext

ENVIRONMENT = "gptq"
WORKER = LISTS / "gptq_worker.py"
BITS = 4
_PYTHONS = ((3, 11), (3, 13))  # that the pinned list has wheels for
# Of gptqmodel's own settings: what a reader needs, and nothing of the machine that it ran on.
_KEPT = (
    *("bits", "group_size", "desc_act", "sym", "lm_head", "quant_method", "method", "format", "checkpoint_format"),
    *("pack_dtype", "zero_point", "version"),
)


class Gptq:
    types: tuple[str, ...] = ()
    format: ClassVar[str] = "gptq"

    def answer(self, machine: Machine) -> Answer:
        first, last = _PYTHONS
        if not first <= machine.python <= last:
            return Rejected(
                f"gptqmodel's packages are pinned for Python {_dotted(first)} to {_dotted(last)}, and this is "
                f"{_dotted(machine.python)}",
                "run this family with one of those, or write w4a16 instead",
            )
        state = "ready" if ENVIRONMENT in machine.environments else "made at first use"
        return Accepted(f"gptqmodel in an environment of its own, {state}")

    def lacks(self, variant: VariantSpec, type: str) -> str:
        if variant.calibration:
            return ""
        return (
            f"{self.format} must read text to see which weights matter: declare it beside 'quantize', e.g. "
            "calibration: {tokens: 131072}"
        )

    def inputs(self, desk: Desk, variant: str, type: str) -> Mapping[str, str] | None:
        return calibration_input(desk, variant) or None

    def do(self, context: StepContext) -> None:
        source, target = context.inputs["model"].path / "model", make_folder(context.out / "model")
        refuse_quantized(source)
        layers = layers_of(source)
        group_size = fitting_group_size(layers, 128)
        environment = Environment.of(ENVIRONMENT)
        environment.make(context)
        made = context.scratch / "made"
        job = {
            "method": self.format,
            "model": str(source.absolute()),
            "rows": str((context.inputs[CALIBRATION].path / CALIBRATION_FILE).absolute()),
            "out": str(made.absolute()),
            "bits": BITS,
            "group_size": group_size,
            "device": _device(),
        }
        read = environment.run(WORKER, job, context)
        _keep(made, source, target)
        _check(self.format, target)
        facts = folder_facts(self.format, target, layers.parameters, self._type)
        context.write_facts({**facts, "group_size": group_size, "calibration": read})

    def _type(self, name: str, tensor: TensorInfo) -> str | None:
        part = name.rpartition(".")[2]
        if part in PARTS:
            return f"INT{BITS}" if part == "qweight" else None
        return tensor.dtype


class Awq(Gptq):
    format: ClassVar[str] = "awq"

    def answer(self, machine: Machine) -> Answer:
        if not machine.cards:
            return Rejected(
                "awq needs a CUDA device, and this machine has none",
                "write gptq or w4a16 instead, which need none, or run this family where there is one",
            )
        return super().answer(machine)


def python_that_reads(folder: Path, context: StepContext) -> Path:
    """The Python in which transformers loads ``folder`` as its users do: ours, but for weights that only gptqmodel
    reads. Makes that environment where it is not there yet."""
    if not is_packed(json.loads((folder / "config.json").read_text()).get(SETTINGS)):
        return Path(sys.executable)
    environment = Environment.of(ENVIRONMENT)
    environment.make(context)
    return environment.python


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _keep(made: Path, source: Path, target: Path) -> None:
    """Weights and settings of what gptqmodel wrote; everything else is the merged model's own, byte for byte."""
    for path in sorted(made.glob("*.safetensors*")):
        copy_file(path, target / path.name)
    config: dict[str, Any] = json.loads((source / "config.json").read_text())
    settings = json.loads((made / "config.json").read_text())[SETTINGS]
    kept = {name: settings[name] for name in _KEPT if name in settings}
    write_json(target / "config.json", {**config, SETTINGS: kept})
    if (source / "generation_config.json").exists():
        copy_file(source / "generation_config.json", target / "generation_config.json")
    copy_tokenizer(source, target)


def _check(format: str, target: Path) -> None:
    """Raises BaseError when tensors are missing or left over, QuantizeError for values that are not finite."""
    if not probe_logits(load_model(target, dtype="bfloat16")).isfinite().all():
        raise QuantizeError(
            f"the {format.upper()} model gives values that are not finite", next="quantize to another format"
        )
