"""Measuring the very same file once more, in other batches: what then differs is noise (see the gate's noise floor)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from variantforge.step import StepContext

AGAIN = "again"  # in the parameters of the second measurement
_PART = 3  # of the usual batch, so that most rows have other neighbours and another padding

_measuring_again: ContextVar[bool] = ContextVar("measuring again", default=False)


def batch_limit(usual: int) -> int:
    """How much goes into one batch now. Whatever puts items into batches asks this."""
    return max(1, usual // _PART) if _measuring_again.get() else usual


@contextmanager
def in_other_batches(context: StepContext) -> Iterator[StepContext]:
    """The step as its evaluator knows it. Of a second measurement, batches are other ones within this block."""
    params = {name: value for name, value in context.step.params.items() if name != AGAIN}
    token = _measuring_again.set(bool(context.step.params.get(AGAIN)))
    try:
        yield replace(context, step=replace(context.step, params=params))
    finally:
        _measuring_again.reset(token)
