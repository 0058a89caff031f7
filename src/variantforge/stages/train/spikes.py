"""A loss that leaves its range: told before it spoils what was learned.

A step is *high* when its loss lies more than six median absolute deviations, and more than one nat, above the median of
the steps before it; three high steps in a row are a spike. Deviations are taken from the median, as one outlier moves
a standard deviation but not a median (P. J. Huber, "Robust Statistics", 1981); the nat keeps a run whose losses hardly
differ from being stopped for nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median

REMEMBERED, AT_LEAST, IN_A_ROW = 32, 16, 3
_DEVIATIONS, _NATS = 6.0, 1.0


class Spikes:
    """Fed with the loss of each step. ``high``: how many steps in a row were high."""

    def __init__(self, losses: Iterable[float] = (), high: int = 0) -> None:
        self.losses = deque(losses, maxlen=REMEMBERED)  # of steps that were not high
        self.high = high

    def add(self, loss: float) -> bool:
        """Whether this loss makes a spike."""
        if len(self.losses) >= AT_LEAST and loss > self.limit:
            self.high += 1
        else:
            self.high = 0
            self.losses.append(loss)
        return self.high >= IN_A_ROW

    @property
    def limit(self) -> float:
        """The loss above which a step is high."""
        middle = median(self.losses)
        deviation = median(abs(loss - middle) for loss in self.losses)
        return middle + max(_DEVIATIONS * deviation, _NATS)
