"""From the merged model to the formats people run: one row per quantizer."""

from __future__ import annotations

from variantforge.registry import Registry
from variantforge.stages.quantize.quantizer import Quantizer

QUANTIZERS: Registry[type[Quantizer]] = Registry(
    "quantizers",
    "quantizer",
    {
        "nf4": "variantforge.stages.quantize.nf4:Nf4",
        "gguf": "variantforge.stages.quantize.gguf:Gguf",
    },
)
