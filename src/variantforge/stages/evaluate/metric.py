"""What is measured: a metric is a ratio of two columns of ``examples.jsonl``, each summed over the examples.

So every metric can be resampled by example, compared in pairs, and worked out again from what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BASE, MERGED = "base", "merged"
EVERY, QUANTIZED = "every", "quantized"


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
