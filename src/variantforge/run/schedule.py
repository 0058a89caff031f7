"""Which steps are at work side by side: no more than there are cores, and no more than memory holds.

A step may begin beside others where the peak memory of each is known and what is free holds them all. A step whose
peak is not known works alone, and so does a training: it is given the whole machine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from variantforge.plan.estimate.machine import available_bytes
from variantforge.plan.estimate.quantizing import peak_bytes
from variantforge.plan.plan import Plan
from variantforge.run.doing import is_heavy
from variantforge.step import Step
from variantforge.store.artifacts import Store

_SMALL = frozenset({"gate", "card", "publish"})  # stages whose steps read figures and write text, here in this process


@dataclass
class Schedule:
    """``most``: steps at work at once. ``free``: bytes of memory that could be taken now."""

    plan: Plan
    store: Store
    most: int
    free: Callable[[], int | None] = available_bytes
    _needs: dict[str, int | None] = field(default_factory=dict)
    _free_at_first: int = 0

    def admits(self, step: Step, at_work: Collection[str]) -> bool:
        """Whether a step may begin beside those with these keys. Never two that together take more than was free when
        the first of them began, and none that takes more than is free now."""
        free_now = self.free() or 0
        if not at_work:
            self._free_at_first = free_now
            return True
        needs = [self._need(key) for key in (*at_work, step.key)]
        known = [need for need in needs if need is not None]
        if len(needs) > self.most or len(known) < len(needs):
            return False
        return sum(known) <= self._free_at_first and known[-1] <= free_now

    def leave_alone(self, key: str) -> None:
        """From now on, the step is admitted beside nothing, whatever was thought of its memory."""
        self._needs[key] = None

    def _need(self, key: str) -> int | None:
        """Bytes that a step takes at its peak; None where that is not known."""
        if key not in self._needs:
            step = self.plan.steps[key]
            small = step.stage in _SMALL and not is_heavy(step)
            self._needs[key] = 0 if small else peak_bytes(self.plan, step, self.store)
        return self._needs[key]
