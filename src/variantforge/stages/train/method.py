"""The protocol of a training method."""

from __future__ import annotations

from typing import Protocol

from variantforge.step import StepContext


class Method(Protocol):
    """A way of training. ``version`` enters the step's params: it moves when equal args now give other bytes."""

    version: int

    def train(self, context: StepContext) -> None:
        """Does the step: fills ``context.out`` and writes its facts."""
