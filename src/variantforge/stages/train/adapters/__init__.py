"""What is trained: an adapter of any kind beside a frozen base (in bf16, float32 or NF4), or all weights.

What is trained is float32 and is saved so; the base is never changed. The life of an adapter:

    load_base       the base as the adapter wants it
    put_on          the adapter on its modules, each target found, no expert forgotten
    save_adapter    a PEFT folder over the original base, whole and not without effect
    prove_adapter   the same, read back from disk
"""

from __future__ import annotations

from variantforge.stages.train.adapters.bases import base_digest, base_name, load_base, load_nf4
from variantforge.stages.train.adapters.config import peft_config
from variantforge.stages.train.adapters.modules import keep_in_float32, trainable
from variantforge.stages.train.adapters.placing import put_on
from variantforge.stages.train.adapters.reached import require_reached
from variantforge.stages.train.adapters.report import matched_line, report
from variantforge.stages.train.adapters.saving import ADAPTER, CONFIG, WEIGHTS, prove_adapter, save_adapter
from variantforge.stages.train.adapters.witness import WITNESS, read_witness

__all__ = [
    "ADAPTER",
    "CONFIG",
    "WEIGHTS",
    "WITNESS",
    "base_digest",
    "base_name",
    "keep_in_float32",
    "load_base",
    "load_nf4",
    "matched_line",
    "peft_config",
    "prove_adapter",
    "put_on",
    "read_witness",
    "report",
    "require_reached",
    "save_adapter",
    "trainable",
]
