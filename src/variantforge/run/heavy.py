"""Imports what heavy steps need, so that the fork server pays for it once. Only the fork server imports this."""

from __future__ import annotations

import importlib
import logging
import threading

from variantforge.stages import PIPELINE, stage

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

# It tells of a kernel that could be downloaded, each time it is imported; nothing is wrong.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

for _module in MODULES:
    importlib.import_module(_module)
for _name in PIPELINE:  # a quarter of a second in each step
    stage(_name)

# tqdm's default lock is a semaphore shared between processes, which forks would leave behind.
importlib.import_module("tqdm").tqdm.set_lock(threading.RLock())
