"""Out of memory: half the micro-batch and twice the accumulation. The global batch, hence the experiment, stays.

How often a step was halved is kept in its scratch folder, so that a later try begins with what fitted; it goes on from
the last checkpoint, since a step has the same rows as before.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from variantforge.errors import OutOfMemory
from variantforge.fsops import write_json
from variantforge.step import StepContext

MICRO_BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
KEPT = "halved.json"
_TELLING = ("out of memory", "can't allocate memory", "cannot allocate memory")


def halved(args: Mapping[str, Any], scratch: Path) -> dict[str, int]:
    """The two arguments as this step trains with them, where memory has not sufficed before; else nothing."""
    times = _times(scratch)
    if not times:
        return {}
    return {MICRO_BATCH: args[MICRO_BATCH] >> times, ACCUMULATION: args[ACCUMULATION] << times}


def done_within_memory(work: Callable[[], None], context: StepContext, args: Mapping[str, Any]) -> bool:
    """Does ``work``; False when memory did not suffice, and half the micro-batch is to be tried.

    Raises OutOfMemory when the micro-batch cannot be halved any more.
    """
    try:
        work()
        return True
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        told = next(iter(str(error).splitlines()), "") or type(error).__name__
    _halve(context, args, told)  # out here: the exception held every tensor of the step that failed
    _give_back()
    return False


def is_out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _TELLING)


def _halve(context: StepContext, args: Mapping[str, Any], told: str) -> None:
    now = {**args, **halved(args, context.scratch)}
    size, steps = now[MICRO_BATCH], now[ACCUMULATION]
    if size % 2:
        raise OutOfMemory(
            f"memory does not suffice for a micro-batch of {size} row{'s' * (size != 1)}",
            why=f"The library says: {told}",
            next="set train.args: {activation_checkpointing: true}, lower max_length, or take adapter: {type: qlora}",
        )
    context.note(
        f"out of memory with {MICRO_BATCH} {size}: going on with {size // 2} and {ACCUMULATION} {2 * steps}, "
        f"so that each step learns from the same {size * steps} rows"
    )
    write_json(context.scratch / KEPT, {"times": _times(context.scratch) + 1})


def _times(scratch: Path) -> int:
    try:
        return int(json.loads((scratch / KEPT).read_text())["times"])
    except FileNotFoundError:
        return 0


def _give_back() -> None:
    import torch

    gc.collect()
    if torch.accelerator.is_available():
        torch.get_device_module().empty_cache()
