"""A GGUF file's weights as a transformers state dict, so that a quantized file can be measured in torch.

llama.cpp stores the rows of Llama's query and key projections in another order (pairs of rotary dimensions lie side
by side), leaves a tied output head out, and has names of its own; all three are undone here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from variantforge.errors import EvaluateError
from variantforge.stages.quantize.gguf_file import GgufFile
from variantforge.stages.quantize.gguf_types import TYPES, Tensor
from variantforge.stages.quantize.llama_cpp import rows_library

if TYPE_CHECKING:
    import numpy as np
    import torch


class Architecture(NamedTuple):
    """How one GGUF architecture lies there: which transformers ``model_type`` it is, and whether q/k are reordered."""

    model_types: frozenset[str]
    rotary_pairs: bool = False


ARCHITECTURES = {
    "llama": Architecture(frozenset({"llama", "mistral"}), rotary_pairs=True),
    "qwen2": Architecture(frozenset({"qwen2"})),
    "qwen3": Architecture(frozenset({"qwen3"})),
}
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PIECE = 2**19  # values at a time
NOT_WEIGHTS = {"rope_freqs.weight"}  # computed by transformers from the config
_STORED = {"F32": "<f4", "F16": "<f2"}


def dequantized_state(path: Path, hf_config: Any) -> dict[str, torch.Tensor]:
    """All weights of a GGUF file as float32, under the names ``AutoModelForCausalLM`` gives them for ``hf_config``.

    A tied ``lm_head.weight`` is there as the same tensor as the embeddings. What llama.cpp and transformers name
    alike for other architectures is read through transformers' own mapping.
    Raises EvaluateError when the file does not fit ``hf_config`` or nobody knows the architecture's names.
    """
    file = GgufFile.open(path)
    if is_known(file, hf_config.model_type):
        state = {hf_name(name): weight(file, name) for name in file.tensors if name not in NOT_WEIGHTS}
        if hf_config.tie_word_embeddings:
            state.setdefault("lm_head.weight", state["model.embed_tokens.weight"])
    else:
        state = _through_transformers(file, hf_config)
    _check_fit(path, state, hf_config)
    return state


def is_known(file: GgufFile, model_type: str) -> bool:
    """Whether this module knows how weights of transformers' ``model_type`` lie in the file."""
    known = ARCHITECTURES.get(file.architecture)
    return known is not None and model_type in known.model_types


def dequantized(file: GgufFile, name: str) -> np.ndarray[Any, Any]:
    """One tensor as float32, in torch's order of dimensions: ``[..., rows, columns]``."""
    tensor = file.tensors[name]
    return as_float32(file.data(name), tensor).reshape(tensor.shape[::-1])


def as_float32(rows: np.ndarray[Any, Any], tensor: Tensor) -> np.ndarray[Any, Any]:
    """Rows of a tensor, as they are stored, as float32 ``[rows, columns]``."""
    import numpy as np

    values: np.ndarray[Any, Any]
    if tensor.type == "BF16":
        values = np.left_shift(rows.view("<u2"), 16, dtype=np.uint32).view(np.float32)  # a float32's upper half
    elif tensor.type in _STORED:
        values = rows.view(_STORED[tensor.type]).astype(np.float32)
    else:
        values = rows_library().dequantize_rows(rows, TYPES[tensor.type].number, tensor.shape[0])
    return values


def weight(file: GgufFile, name: str) -> torch.Tensor:
    """One tensor as float32, as transformers orders it."""
    import torch

    return torch.from_numpy(_ordered(dequantized(file, name), _heads(file, name)))


def weight_pieces(file: GgufFile, name: str) -> Iterator[tuple[slice, torch.Tensor]]:
    """A matrix, some rows at a time: which they are in transformers' order, and their float32 values."""
    import torch

    rows, tensor, heads = file.data(name), file.tensors[name], _heads(file, name)
    unit = len(rows) // heads if heads else 1  # the rows of a head stay together
    at_once = unit * max(1, _PIECE // (unit * tensor.shape[0]))
    for first in range(0, len(rows), at_once):
        values = as_float32(rows[first : first + at_once], tensor)
        yield slice(first, first + at_once), torch.from_numpy(_ordered(values, heads and len(values) // unit))


def hf_name(name: str) -> str:
    """``blk.3.attn_q.weight`` -> ``model.layers.3.self_attn.q_proj.weight``. Raises EvaluateError for unknown names."""
    stem, _, kind = name.rpartition(".")
    inside = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if inside and inside[2] in _INSIDE:
        return f"model.layers.{inside[1]}.{_INSIDE[inside[2]]}.{kind}"
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.{kind}"
    raise EvaluateError(f"the GGUF tensor {name} has no known place in the transformers model")


def _heads(file: GgufFile, name: str) -> int:
    """Of a projection whose rows lie in another order than in transformers; 0 of anything else."""
    heads = {"attn_q": file.shape.heads, "attn_k": file.shape.value_heads}
    return heads.get(name.split(".")[-2], 0) if ARCHITECTURES[file.architecture].rotary_pairs else 0


def _ordered(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows of each head from llama.cpp's order (rotary pairs side by side) to transformers' (two halves)."""
    import numpy as np

    if not heads:
        return values
    pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)


def _meta_model(hf_config: Any) -> torch.nn.Module:
    """The model without weights: names and shapes only."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: torch.nn.Module = AutoModelForCausalLM.from_config(deepcopy(hf_config))
    return model


def _through_transformers(file: GgufFile, hf_config: Any) -> dict[str, torch.Tensor]:
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    from variantforge.stages.models import quiet

    try:
        with quiet(), redirect_stderr(StringIO()):  # it draws a bar that nothing else silences
            model = _meta_model(hf_config)
            loaded = load_gguf_checkpoint(str(file.path), return_tensors=True, model_to_load=model)
    except (ValueError, KeyError, NotImplementedError, RuntimeError, ImportError) as error:
        raise EvaluateError(
            f"{file.path.name}: weights of the architecture '{file.architecture}' cannot be brought into transformers",
            why=str(error),
            next="measure this variant in another format (quantize: [nf4]), or without gguf evaluations",
        ) from error
    state = {name: tensor.float() for name, tensor in loaded["tensors"].items()}
    if hf_config.tie_word_embeddings and "lm_head.weight" not in state and "model.embed_tokens.weight" in state:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return state


def _check_fit(path: Path, state: dict[str, torch.Tensor], hf_config: Any) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in _meta_model(hf_config).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if differing := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        first = differing[0]
        raise EvaluateError(
            f"{path.name} does not hold the weights that the model's config asks for",
            why=f"{len(differing)} tensors differ; {first}: file {found.get(first)}, config {expected.get(first)}",
            next="quantize this variant again from its merged model",
        )
