"""Folders of GPTQ and AWQ weights, read without the packages that made them: each weight as what it stands for.

Those packages need an environment of their own, and a server's kernels compute with these very values. Both keep 4-bit
integers q, eight to a word, with a zero z and a scale s for each group of inputs: a weight is (q - z) s. GPTQ packs
along the inputs, writes z - 1 where the format is not its second, and names each input's group; AWQ packs along the
outputs, in an order that suits its kernel (Frantar et al., arXiv 2210.17323; Lin et al., arXiv 2306.00978).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import BaseError

if TYPE_CHECKING:
    from torch import Tensor

METHODS = ("gptq", "awq")
PARTS = ("qweight", "qzeros", "scales", "g_idx")
_IN_WORD = 8
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which of eight outputs the nibble at each place is


def is_packed(settings: Any) -> bool:
    """Whether a config's ``quantization_config`` is of one of these."""
    return isinstance(settings, dict) and settings.get("quant_method") in METHODS


def whole_weights(folder: Path, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensor name -> tensor, as the folder would hold them unquantized, in float32. Raises BaseError for what is not in
    4 bit, or not whole."""
    from safetensors.torch import load_file

    if settings.get("bits") != 4:
        raise BaseError(f"{folder.name}/ holds weights of {settings.get('bits')} bits; only 4 can be read")
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    modules = sorted(name.removesuffix(".qweight") for name in found if name.endswith(".qweight"))
    whole = {name: tensor for name, tensor in found.items() if name.rpartition(".")[2] not in PARTS}
    for module in modules:
        parts = {part: found[name] for part in PARTS if (name := f"{module}.{part}") in found}
        if missing := {"qweight", "qzeros", "scales"} - parts.keys():
            raise BaseError(f"{folder.name}/: {module} lacks {', '.join(sorted(missing))}")
        whole[f"{module}.weight"] = whole_weight(parts, settings)
    return whole


def whole_weight(parts: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    """One weight [outputs, inputs], float32."""
    import torch

    scales = parts["scales"].float()  # [groups, outputs]
    if settings["quant_method"] == "awq":
        q, zeros = _unpacked_awq(parts["qweight"]), _unpacked_awq(parts["qzeros"])
        group = torch.arange(q.shape[0]) // (q.shape[0] // scales.shape[0])
    else:
        q, zeros = _nibbles(parts["qweight"].T).T, _nibbles(parts["qzeros"])
        if settings.get("checkpoint_format", "gptq") == "gptq":
            zeros = zeros + 1
        per_group = q.shape[0] // scales.shape[0]
        group = parts["g_idx"].long() if "g_idx" in parts else torch.arange(q.shape[0]) // per_group
    return ((q - zeros[group]).float() * scales[group]).T.contiguous()


def _nibbles(words: Tensor) -> Tensor:
    """[rows, words] -> [rows, words * 8], lowest bits first."""
    import torch

    return torch.stack([(words >> shift) & 15 for shift in range(0, 32, 4)], dim=-1).flatten(-2)


def _unpacked_awq(words: Tensor) -> Tensor:
    """[rows, words] -> [rows, words * 8], each nibble at the output that it belongs to."""
    import torch

    order = torch.tensor(_AWQ_ORDER).argsort()
    return _nibbles(words).unflatten(-1, (-1, _IN_WORD))[..., order].flatten(-2)
