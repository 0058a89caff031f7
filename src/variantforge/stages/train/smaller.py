"""Out of memory: half the micro-batch and twice the accumulation. The global batch, hence the experiment, stays.

Told by the library's allocator, or by the kernel, which kills: then whoever started the process calls ``halve``, and
starts it again. An odd micro-batch is divided by its smallest divisor, so that the last one is always a single row. How
often a step was halved is kept in its scratch folder, so that a later try begins with what fitted; it goes on from the
last checkpoint, since a step has the same rows as before.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from variantforge.errors import KilledForMemory, OutOfMemory
from variantforge.fsops import write_json
from variantforge.step import StepContext

MICRO_BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
KEPT = "halved.json"
_TELLING = ("out of memory", "can't allocate memory", "cannot allocate memory")


def halved(args: Mapping[str, Any], scratch: Path) -> dict[str, int]:
    """The two arguments as this step trains with them, where memory has not sufficed before; else nothing."""
    times, size, steps = _times(scratch), args[MICRO_BATCH], args[ACCUMULATION]
    for _ in range(times):
        size, steps = _divided(size, steps)
    return {MICRO_BATCH: size, ACCUMULATION: steps} if times else {}


def done_within_memory(work: Callable[[], None], context: StepContext, args: Mapping[str, Any]) -> bool:
    """Does ``work``; False when memory did not suffice, and half the micro-batch is to be tried.

    Raises OutOfMemory when the micro-batch cannot be halved any more.
    """
    try:
        work()
        return True
    except (RuntimeError, MemoryError, KilledForMemory) as error:
        if not is_out_of_memory(error):
            raise
        why = _why(error)
        if isinstance(error, KilledForMemory):
            context.note(f"{error.what}. {why}")
    halve(context, args, why)  # out here: the exception held every tensor of the step that failed
    _give_back()
    return False


def is_out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError | KilledForMemory):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _TELLING)


def _why(error: BaseException) -> str:
    if isinstance(error, KilledForMemory):
        return error.why
    return f"The library says: {next(iter(str(error).splitlines()), '') or type(error).__name__}"


def halve(context: StepContext, args: Mapping[str, Any], why: str) -> None:
    """The next try has half the micro-batch of ``args`` (a process's own), or of what was tried last.

    ``why``: a sentence. Raises OutOfMemory when that was a single row.
    """
    now = {**args, **halved(args, context.scratch)}
    size, steps = now[MICRO_BATCH], now[ACCUMULATION]
    if size == 1:
        raise OutOfMemory(
            "memory does not suffice for a micro-batch of 1 row",
            why=why,
            next="set train.args: {activation_checkpointing: true}, lower max_length, or take adapter: {type: qlora}",
        )
    smaller, more = _divided(size, steps)
    rows = size * steps * int(context.step.hints.get("processes", 1))
    context.note(
        f"out of memory with {MICRO_BATCH} {size}: going on with {smaller} and {ACCUMULATION} {more}, "
        f"so that each step learns from the same {rows} rows"
    )
    write_json(context.scratch / KEPT, {"times": _times(context.scratch) + 1})


def _divided(size: int, steps: int) -> tuple[int, int]:
    """Micro-batch and accumulation after one halving, of an odd micro-batch by its smallest divisor."""
    parts = next((number for number in range(2, size + 1) if size % number == 0), 1)
    return size // parts, steps * parts


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
