"""Memory, time and disk of what a plan would do, before any of it is done.

Everything is worked out from configs, headers and earlier runs of the same store: torch is never imported. What
cannot be known is told as unknown, with the reason.
"""

from __future__ import annotations

from variantforge.plan.estimate.budget import refuse_over_budget, refuse_without_room
from variantforge.plan.estimate.estimates import Estimate, Estimates, estimate_plan

__all__ = ["Estimate", "Estimates", "estimate_plan", "refuse_over_budget", "refuse_without_room"]
