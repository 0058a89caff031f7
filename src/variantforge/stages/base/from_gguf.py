"""A GGUF file as a model in bf16.

transformers knows how each architecture's tensors are named and permuted in a GGUF file; but its reader turns every
entry of the vocabulary into Python objects, twice, which takes longer than all the weights do. So it is handed a
slim copy of the file, without the vocabulary, written by our own reader.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from variantforge.errors import BaseError
from variantforge.fsops import writing
from variantforge.stages.base.gguf_format import MAGIC, Array, GgufHeader
from variantforge.stages.models import quiet

# Tensors beside the weights: transformers drops them, and with them the stretched rope of Llama 3.1 and others.
_ROPE_FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_CHUNK_BYTES = 1 << 24


def model_from_gguf(path: Path, header: GgufHeader, scratch: Path) -> Any:
    """The dequantized model, clean of any trace of its quantization. Raises BaseError when transformers does not know
    the architecture, or would lose a tensor."""
    lost = [tensor.name for tensor in header.tensors if tensor.name in _ROPE_FACTORS]
    lost += [key for key, value in header.metadata.items() if ".rope.scal" in key and value not in ("none", 1.0)]
    if lost:
        raise BaseError(
            f"{path.name} stretches its rope ({lost[0]})",
            why="That cannot be turned back into a config yet; without it long texts would be read wrongly.",
            next="use the model's Hub id or its folder as base",
        )
    slim = scratch / "slim.gguf"
    write_slim(path, header, slim)
    try:
        model = _dequantized(slim, header, path.name)
    finally:
        slim.unlink(missing_ok=True)
    elements = sum(parameter.numel() for parameter in model.parameters())
    if elements != header.elements:
        raise BaseError(
            f"{path.name}: the model has {elements:,} parameters, the file {header.elements:,}",
            why="transformers has no place for some of the file's tensors.",
            next="use the model's Hub id or its folder as base",
        )
    return model


@contextlib.contextmanager
def _remembering_names() -> Iterator[None]:
    """transformers builds gguf's table of tensor names anew for every submodule, 400 times for a model of 30 layers:
    more work than all the rest. The table depends on its two arguments alone, so inside this block it is kept."""
    import gguf

    build = gguf.get_tensor_name_map
    gguf.get_tensor_name_map = functools.cache(build)
    try:
        yield
    finally:
        gguf.get_tensor_name_map = build


def _dequantized(slim: Path, header: GgufHeader, name: str) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig

    try:
        # The bar over its tensors asks nobody whether it may be drawn.
        with quiet(), _remembering_names(), contextlib.redirect_stderr(io.StringIO()):
            config = AutoConfig.from_pretrained(slim.parent, gguf_file=slim.name, local_files_only=True)
            _set_head_dim(config, header)
            loaded, report = AutoModelForCausalLM.from_pretrained(
                slim.parent,
                config=config,
                gguf_file=slim.name,
                quantization_config=GgufConfig(gguf_file=slim.name, dequantize=True),
                dtype=torch.bfloat16,
                local_files_only=True,
                output_loading_info=True,
            )
    except MemoryError:
        raise
    except Exception as error:  # an unknown architecture comes as ValueError, KeyError, NotImplementedError, ...
        raise BaseError(
            f"{name} cannot be read as a model",
            why=f"{type(error).__name__}: {str(error)[:300]}",
            next="point base.model at the same model as safetensors (a folder, or its Hub id)",
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise BaseError(f"{name} lacks {len(missing)} tensors of its architecture", why=", ".join(missing[:3]))
    return _clean(loaded)


def _set_head_dim(config: Any, header: GgufHeader) -> None:
    """Qwen3 and others state the size of a head (attention.key_length); transformers maps it for some architectures
    only and else takes the class's default."""
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    key_length = header.metadata.get(f"{header.architecture}.attention.key_length")
    mapped = GGUF_CONFIG_MAPPING.get(config.model_type, {})
    if isinstance(key_length, int) and "attention.key_length" not in mapped and hasattr(config, "head_dim"):
        config.head_dim = key_length


def _clean(loaded: Any) -> Any:
    """The same weights in a model that never was quantized: one that can be saved."""
    import torch
    from transformers import AutoModelForCausalLM

    config = loaded.config
    for name in ("quantization_config", "_name_or_path"):
        if hasattr(config, name):
            delattr(config, name)
    config.dtype = torch.bfloat16
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    return model


def write_slim(path: Path, header: GgufHeader, slim: Path) -> None:
    """The same file without the long arrays of its metadata; the vocabulary's size stands in their place."""
    short = {key: place for key, place in header.pairs.items() if not isinstance(header.metadata[key], Array)}
    extra = b""
    size_key = f"{header.architecture}.vocab_size"
    if size_key not in header.metadata:
        key = size_key.encode()
        extra = struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, header.length("tokenizer.ggml.tokens"))
    with open(path, "rb") as source, writing(slim) as target:
        target.write(MAGIC + struct.pack("<IQQ", header.version, len(header.tensors), len(short) + bool(extra)))
        for start, end in short.values():
            _copy(source, start, end, target)
        target.write(extra)
        _copy(source, *header.tensor_table, target)
        target.write(bytes(math.ceil(target.tell() / header.alignment) * header.alignment - target.tell()))
        last = header.tensors[-1]
        _copy(source, header.data_start, last.start + last.size_bytes, target)


def _copy(source: Any, start: int, end: int, target: Any) -> None:
    source.seek(start)
    while start < end:
        chunk = source.read(min(_CHUNK_BYTES, end - start))
        target.write(chunk)
        start += len(chunk)
