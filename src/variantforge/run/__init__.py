"""Doing a plan: the runner walks it, an executor is where each step runs."""

from __future__ import annotations

from variantforge.registry import Registry
from variantforge.run.executor import Executor

EXECUTORS: Registry[type[Executor]] = Registry(
    "executors",
    "executor",
    {
        "inline": "variantforge.run.inline:Inline",
        "isolated": "variantforge.run.isolated:Isolated",
    },
)
