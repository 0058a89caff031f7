"""The global batch stays what the user wrote: rows of a micro-batch x accumulation, whoever does them.

Accumulation is divided first, as that leaves the micro-batches as they were; what is left of the number of processes
divides the micro-batch. That comes out even exactly when the number of processes divides the global batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import Any

from variantforge.stages.train.smaller import ACCUMULATION, MICRO_BATCH

_TOLD = 8  # numbers of processes that would do


def shared(args: Mapping[str, Any], processes: int) -> dict[str, int]:
    """Micro-batch and accumulation of each of ``processes``; {} where the global batch cannot be divided by them."""
    size, steps = int(args[MICRO_BATCH]), int(args[ACCUMULATION])
    common = gcd(steps, processes)
    left = processes // common
    return {} if size % left else {MICRO_BATCH: size // left, ACCUMULATION: steps // common}


def sharing_problem(args: Mapping[str, Any], processes: int) -> str:
    """What is wrong with the number of processes for these arguments, and what to write instead; or ''."""
    if shared(args, processes):
        return ""
    size, steps = int(args[MICRO_BATCH]), int(args[ACCUMULATION])
    batch = size * steps
    fitting = [str(number) for number in range(2, batch + 1) if batch % number == 0][:_TOLD]
    listed = " or ".join(part for part in (", ".join(fitting[:-1]), *fitting[-1:]) if part)
    these = f"take {listed} processes, or " if fitting else ""
    more = processes // gcd(size, processes)  # the smallest accumulation that comes out even with this micro-batch
    return (
        f"{processes} processes cannot share a global batch of {batch} rows ({MICRO_BATCH} {size} x {ACCUMULATION} "
        f"{steps}): {these}set {ACCUMULATION} to a multiple of {more}"
    )
