"""What is measured: a metric is a ratio of two columns of ``examples.jsonl``, each summed over the examples.

So every metric can be resampled by example, compared in pairs, and worked out again from what is stored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from variantforge.stages.quantize import is_model
from variantforge.step import Artifact

if TYPE_CHECKING:
    from variantforge.spec.family import VariantSpec

EXAMPLES_FILE = "examples.jsonl"
BASE, MERGED = "base", "merged"
EVERY, QUANTIZED = "every", "quantized"
CLEAN = "clean"  # of a measurement's view without the items that training data hold: its parameter, its place's ending
CLEAN_SUFFIX = "_clean"  # of its metrics
LEFT_OUT = "left_out"  # of its facts, and of its examples


def method_of(subject: str) -> str:
    """``gguf:Q4_K_M`` -> ``gguf``; ``nf4``, ``base`` and ``merged`` are their own."""
    return subject.partition(":")[0]


def is_quantized(subject: str) -> bool:
    return subject not in (BASE, MERGED)


@dataclass(frozen=True)
class Metric:
    """``sum(total) / sum(per)`` over examples; with ``scale="exp"`` the exponential of that.

    ``better`` says which way is good (None: neither). ``on`` says which subjects have it: ``every``,
    ``quantized``, or the name of one way to quantize (``gguf``).
    """

    name: str
    total: str
    per: str
    better: Literal["lower", "higher"] | None
    scale: Literal["identity", "exp"] = "identity"
    on: str = EVERY

    def applies_to(self, subject: str) -> bool:
        if self.on == EVERY:
            return True
        return is_quantized(subject) if self.on == QUANTIZED else method_of(subject) == self.on


def subjects(variant: VariantSpec) -> list[str]:
    """What is measured of a variant, in the order of tables."""
    return [BASE, MERGED, *filter(is_model, variant.quantize)]


def read_examples(artifact: Artifact) -> list[dict[str, Any]]:
    """What was measured of every example, in the order of the data."""
    with open(artifact.path / EXAMPLES_FILE, "rb") as file:
        return [json.loads(line) for line in file]
