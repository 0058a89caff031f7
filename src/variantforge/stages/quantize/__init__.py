"""From the merged model to the formats people run: one row per quantizer."""

from __future__ import annotations

from variantforge.registry import Registry
from variantforge.stages.quantize.quantizer import Quantizer

QUANTIZERS: Registry[type[Quantizer]] = Registry(
    "quantizers",
    "quantizer",
    {
        "nf4": "variantforge.stages.quantize.bnb:Nf4",
        "int8": "variantforge.stages.quantize.bnb:Int8",
        "fp8": "variantforge.stages.quantize.compressed:Fp8",
        "w4a16": "variantforge.stages.quantize.compressed:W4A16",
        "w8a8": "variantforge.stages.quantize.compressed:W8A8",
        "gptq": "variantforge.stages.quantize.gptq:Gptq",
        "awq": "variantforge.stages.quantize.gptq:Awq",
        "gguf": "variantforge.stages.quantize.gguf:Gguf",
        "gguf_lora": "variantforge.stages.quantize.gguf_lora:GgufLora",
    },
)


def is_model(entry: str) -> bool:
    """Whether an entry of ``quantize`` makes a model of its own, to be measured; an adapter's file is none."""
    method = entry.partition(":")[0]
    return method not in QUANTIZERS or bool(getattr(QUANTIZERS.load(method), "is_model", True))
