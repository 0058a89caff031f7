"""Imports what heavy steps need, so that the fork server pays for it once. Only the fork server imports this."""

from __future__ import annotations

import importlib

# trl's modules are lazy: name the ones that training really uses.
MODULES = (
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "peft",
    "datasets",
    "trl.trainer.sft_trainer",
)

for _module in MODULES:
    importlib.import_module(_module)
