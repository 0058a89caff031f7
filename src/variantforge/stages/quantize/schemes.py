"""A scheme of compressed-tensors on one model: which layers, how each weight is written, and where it will be read.

Scales are worked out in float32 and kept in the weight's own type, as the library keeps them. Rounding is to the
nearest: no calibration text is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import QuantizeError
from variantforge.stages.base.safetensors_header import read_safetensors_header
from variantforge.stages.models import empty_model

if TYPE_CHECKING:
    from torch import Tensor

GROUP_SIZES = (128, 64, 32)  # that vLLM's kernels for 4-bit weights know
PIECE = 2**19  # weights at a time: rounding one takes some thirty bytes, and comparing it as many
_SHAPE = "weight_shape"  # the part that tells of a whole packed weight, and has no rows
_TYPES = {
    "torch.bfloat16": "BF16",
    "torch.float16": "F16",
    "torch.float32": "F32",
    "torch.float8_e4m3fn": "F8_E4M3",
    "torch.int8": "I8",
    "torch.int32": "I32",
    "torch.int64": "I64",
}


@dataclass(frozen=True)
class Layers:
    """``linear``: name of each layer to quantize -> (outputs, inputs). ``head``: the output head, left as it is."""

    linear: dict[str, tuple[int, int]]
    head: str
    parameters: int


def layers_of(folder: Path) -> Layers:
    """The linear layers of a model folder, from an empty model: no weight is read.

    Raises QuantizeError where a layer's weight is not in the files under the layer's own name, as with experts that
    transformers holds as one tensor: what is written could then not be loaded again.
    """
    import torch

    model = empty_model(folder)
    head = model.get_output_embeddings()
    names = {id(module): name for name, module in model.named_modules()}
    linear = {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    there = _inventory(folder)
    stray = sorted(name for name, shape in linear.items() if there.get(f"{name}.weight", ("", ()))[1] != shape)
    stacked = sorted(name for name, parameter in model.named_parameters() if parameter.ndim > 2)
    if stray or stacked or not linear:
        first = (stray + stacked)[:1]
        raise QuantizeError(
            f"{type(model).__name__} cannot be written in the form of compressed-tensors",
            why=f"{first[0]} is not one linear layer with a weight of its own." if first else "It has no linear layer.",
            next="take this format out of quantize; gguf, nf4 and int8 know more architectures",
        )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Layers(linear, names.get(id(head), ""), parameters)


def fitting_group_size(layers: Layers, wanted: int) -> int:
    """The largest size of groups, at most ``wanted``, that every layer's rows divide into. Raises QuantizeError."""
    columns = {inputs for _, inputs in layers.linear.values()}
    for size in GROUP_SIZES:
        if size <= wanted and not any(count % size for count in columns):
            return size
    raise QuantizeError(
        f"rows of {', '.join(map(str, sorted(columns)))} weights do not divide into groups",
        why=f"Groups of {', '.join(map(str, GROUP_SIZES))} weights are what servers can run.",
        next="take this format out of quantize, or write w8a8 or fp8, which have one scale a row",
    )


def _inventory(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Tensor name -> its type and shape, from the headers of all files."""
    return {
        name: (tensor.dtype, tensor.shape)
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in read_safetensors_header(path).items()
    }


@dataclass(frozen=True)
class Scheme:
    """``scheme``: the library's QuantizationScheme."""

    scheme: Any
    wanted_group_size: int

    @classmethod
    def of(cls, preset: str, layers: Layers) -> Scheme:
        """The library's scheme of that name; its groups are smaller where rows do not divide by them."""
        from compressed_tensors.quantization import preset_name_to_scheme

        scheme = preset_name_to_scheme(preset, ["Linear"])
        wanted = int(scheme.weights.group_size or 0)
        if wanted:
            scheme.weights.group_size = fitting_group_size(layers, wanted)
        return cls(scheme, wanted)

    @property
    def group_size(self) -> int:
        return int(self.scheme.weights.group_size or 0)

    @cached_property
    def packing(self) -> Any:
        """The library's class that packs weights of this scheme."""
        import torch
        from compressed_tensors.compressors import BaseCompressor
        from compressed_tensors.compressors.format import infer_module_format

        return BaseCompressor.get_value_from_registry(infer_module_format(torch.nn.Linear, self.scheme).value)

    @property
    def parts(self) -> tuple[str, ...]:
        """What stands beside a layer's name in the files."""
        return tuple(self.packing.compression_param_names(self.scheme))

    def settings(self, layers: Layers) -> dict[str, Any]:
        """``quantization_config``, as llm-compressor writes it."""
        import compressed_tensors
        import torch
        from compressed_tensors.compressors.format import infer_module_format
        from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus

        format = infer_module_format(torch.nn.Linear, self.scheme).value
        config = QuantizationConfig(
            config_groups={"group_0": self.scheme.model_copy(update={"format": format})},
            format=format,
            quantization_status=QuantizationStatus.COMPRESSED,
            ignore=[layers.head] if layers.head else [],
        )
        return {**config.model_dump(mode="json"), "version": compressed_tensors.__version__}

    def compressed(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        """``weight`` [outputs, inputs] as what stands for it in the files. Raises QuantizeError for NaN."""
        import torch

        pieces = [self._compressed(name, weight[rows]) for rows in pieces_of(weight)]
        parts = {part: torch.cat([piece[part] for piece in pieces]) for part in pieces[0] if part != _SHAPE}
        return {**parts, **({_SHAPE: torch.tensor(weight.shape)} if _SHAPE in pieces[0] else {})}

    def _compressed(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        if not weight.isfinite().all():
            raise QuantizeError(
                f"the merged model's {name} holds values that are not finite",
                next="train this variant again with a lower learning_rate",
            )
        scale = self._scale(weight)
        parts = self.packing.compress({"weight": weight.float(), "weight_scale": scale.float()}, self.scheme)
        return {**parts, "weight_scale": scale}

    def _scale(self, weight: Tensor) -> Tensor:
        """[outputs, groups]: each group's largest weight is the largest that the type can hold."""
        from compressed_tensors.quantization.utils import calculate_qparams

        size = self.group_size or weight.shape[-1]
        groups = weight.float().unflatten(-1, (-1, size))
        scale: Tensor = calculate_qparams(groups.amin(-1), groups.amax(-1), self.scheme.weights)[0]
        return scale.to(weight.dtype)

    def require_near(self, name: str, weight: Tensor, parts: dict[str, Tensor]) -> None:
        """Raises QuantizeError unless ``parts`` stand for ``weight``, each value to the step of its scale.

        Integers lie half a step off at most. A floating type's steps grow with the value: e4m3 has 3 bits behind its
        leading one, so 1/16 of the value, and near zero half of 2^-9 (its smallest step) of the scale.
        """
        for rows in pieces_of(weight):
            piece = weight[rows]
            shape = {_SHAPE: parts[_SHAPE].new_tensor(piece.shape)} if _SHAPE in parts else {}
            beyond = self._beyond(piece, {part: value[rows] for part, value in parts.items() if part != _SHAPE} | shape)
            if not beyond <= 0:
                raise QuantizeError(
                    f"{name} does not come back from the file as what was written",
                    why=f"A value is off by {beyond:.3g} more than its rounding allows.",
                    next="pip install --upgrade compressed-tensors, then run it again",
                )

    def _beyond(self, weight: Tensor, parts: dict[str, Tensor]) -> float:
        """How much the value that is furthest off is off beyond what is allowed; NaN where one is no number."""
        parts = {**parts, "weight_scale": parts["weight_scale"].float()}
        found = self.packing.decompress(parts, self.scheme)["weight"].float()
        scale = parts["weight_scale"].repeat_interleave(self.group_size or weight.shape[-1], dim=-1)
        weight = weight.float()
        whole = self.scheme.weights.type == "int"
        allowed = 0.5 * scale if whole else (weight.abs() / 16).maximum(scale * 2**-10)
        slack = weight.abs() / 256  # the largest values, where the scale was rounded to bf16
        return float(((found - weight).abs() - allowed - slack).max())


def pieces_of(weight: Tensor) -> Iterator[slice]:
    """Rows of ``weight`` [outputs, inputs] that are at most ``PIECE`` values, or one row."""
    rows = max(1, PIECE // weight.shape[-1])
    return (slice(first, first + rows) for first in range(0, weight.shape[0], rows))


def require_places(folder: Path) -> None:
    """Raises QuantizeError unless the folder's tensors are, by name, shape and type, those that transformers with
    compressed-tensors has places for."""
    wanted, found = _places(folder), _inventory(folder)
    differing = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise QuantizeError(
            f"{len(differing)} tensors of the quantized model have no place in it, {name} for one",
            why=f"Expected: {wanted.get(name, 'none')}; written: {found.get(name, 'none')}.",
            next="pip install --upgrade compressed-tensors transformers, then run it again",
        )


def _places(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What loading the folder has places for, from an empty model that the library has prepared."""
    from compressed_tensors.compressors import compress_module
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

    model = empty_model(folder)
    apply_quantization_config(model, QuantizationConfig.model_validate(model.config.quantization_config))
    for module in model.modules():
        compress_module(module)
    tied = set(getattr(model, "all_tied_weights_keys", ()))
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    return {name: (_TYPES[str(tensor.dtype)], tuple(tensor.shape)) for name, tensor in state.items()}
