"""``fp8``, ``w4a16``, ``w8a8``: folders in the form of compressed-tensors, which vLLM and transformers load.

The schemes are llm-compressor's FP8_DYNAMIC, W4A16 and W8A8: weights are rounded to the nearest step of a scale per
row (per group of a row in w4a16); fp8 and w8a8 also round what flows into a layer, a scale per token, while it runs.
Embeddings and the output head stay in bf16. The library packs the bytes; nothing here knows its layout.

Work goes file by file: one file of the merged model, and what is made of it, are all that is held. So nothing is loaded
to prove the result either. Every weight is read back and compared with what it stands for, and the names, shapes and
types of all tensors with those that transformers has places for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from variantforge.errors import Interrupted
from variantforge.fsops import copy_file, make_folder, write_json
from variantforge.stages.base.safetensors_header import TensorInfo
from variantforge.stages.layers import give_back_what_is_free
from variantforge.stages.quantize.folder import (
    SETTINGS,
    copy_tokenizer,
    folder_facts,
    refuse_quantized,
)
from variantforge.stages.quantize.machine import Answer, Machine, rests_on
from variantforge.stages.quantize.schemes import Layers, Scheme, layers_of, require_places
from variantforge.stages.stage import Desk
from variantforge.step import StepContext

if TYPE_CHECKING:
    from torch import Tensor

INDEX = "model.safetensors.index.json"
_COPIED = ("generation_config.json",)


class CompressedTensors:
    """One scheme: its name as the library lists it, and what its weights are called in facts."""

    types: tuple[str, ...] = ()
    format: ClassVar[str]
    preset: ClassVar[str]
    stored: ClassVar[str]

    def answer(self, machine: Machine) -> Answer:
        return rests_on(machine, "compressed-tensors", "compressed")

    def inputs(self, desk: Desk, variant: str, type: str) -> Mapping[str, str]:
        return {}

    def do(self, context: StepContext) -> None:
        source, target = context.inputs["model"].path / "model", make_folder(context.out / "model")
        refuse_quantized(source)
        layers = layers_of(source)
        scheme = Scheme.of(self.preset, layers)
        if scheme.group_size and scheme.group_size < scheme.wanted_group_size:
            context.note(
                f"{self.format} in groups of {scheme.group_size}: rows of this model do not divide by "
                f"{scheme.wanted_group_size}"
            )
        weight_map = _write_weights(context, source, target, layers, scheme)
        _write_rest(source, target, scheme, layers, weight_map)
        require_places(target)
        facts = folder_facts(self.format, target, layers.parameters, self._type)
        context.write_facts({**facts, **({"group_size": scheme.group_size} if scheme.group_size else {})})

    def _type(self, name: str, tensor: TensorInfo) -> str | None:
        if name.endswith((".weight_scale", ".weight_shape")):
            return None
        plain = tensor.dtype in ("BF16", "F16", "F32")
        return tensor.dtype if plain else self.stored


class Fp8(CompressedTensors):
    format, preset, stored = "fp8", "FP8_DYNAMIC", "F8_E4M3"


class W4A16(CompressedTensors):
    format, preset, stored = "w4a16", "W4A16", "INT4"


class W8A8(CompressedTensors):
    format, preset, stored = "w8a8", "W8A8", "INT8"


def _write_weights(
    context: StepContext, source: Path, target: Path, layers: Layers, scheme: Scheme
) -> dict[str, tuple[str, int]]:
    """Writes each file of ``source`` anew; returns tensor name -> (its file, its size in bytes)."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    files = sorted(source.glob("*.safetensors"))
    placed: dict[str, tuple[str, int]] = {}
    for done, path in enumerate(files):
        written: dict[str, Tensor] = {}
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  not a dict
                tensor, module = file.get_tensor(name), name.removesuffix(".weight")
                if module in layers.linear and name != module:
                    written |= {f"{module}.{part}": value for part, value in scheme.compressed(name, tensor).items()}
                else:
                    written[name] = tensor
                if context.stopping():
                    raise Interrupted(f"stopped while quantizing {path.name}")
        save_file(written, target / path.name, metadata={"format": "pt"})
        placed |= {name: (path.name, tensor.nbytes) for name, tensor in written.items()}
        written.clear()
        _read_back(path, target / path.name, layers, scheme)
        give_back_what_is_free()
        context.progress(done + 1, len(files), "file")
    return placed


def _read_back(source: Path, written: Path, layers: Layers, scheme: Scheme) -> None:
    """Raises QuantizeError unless every quantized weight on disk stands for the one that it was made of."""
    from safetensors import safe_open

    with safe_open(source, framework="pt") as before, safe_open(written, framework="pt") as after:
        for name in before.keys():  # noqa: SIM118
            module = name.removesuffix(".weight")
            if module in layers.linear and name != module:
                parts = {part: after.get_tensor(f"{module}.{part}") for part in scheme.parts}
                scheme.require_near(name, before.get_tensor(name), parts)


def _write_rest(
    source: Path, target: Path, scheme: Scheme, layers: Layers, placed: Mapping[str, tuple[str, int]]
) -> None:
    config: dict[str, Any] = json.loads((source / "config.json").read_text())
    write_json(target / "config.json", {**config, SETTINGS: scheme.settings(layers)})
    if len({file for file, _ in placed.values()}) > 1:
        total = {"total_size": sum(size for _, size in placed.values())}
        write_json(
            target / INDEX, {"metadata": total, "weight_map": {name: file for name, (file, _) in placed.items()}}
        )
    for name in _COPIED:
        if (source / name).exists():
            copy_file(source / name, target / name)
    copy_tokenizer(source, target)
