"""How many items a metric will count, told before anything is measured: ``plan`` says from it what a gate can see."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from variantforge.step import Step


@runtime_checkable
class HasSize(Protocol):
    """An evaluator whose items are known while planning: its own suite, or files that are pinned."""

    def size(self, step: Step, metric: str) -> tuple[int | None, bool]:
        """The items of a measurement that count for a metric (None: nobody knows yet), and whether they may be fewer.

        Reads the pinned files. Raises DataError, EvaluateError or OSError when they have gone.
        """
