"""A train step done by several processes (DDP or FSDP2, through accelerate), with the result that one would have.

layout      how many there are, and what each is told
share       how the global batch that the user wrote is shared out
launch      the step's own process: starts the workers, hears them, ends them
worker      one of them: does the method's ``train`` with its share
ranks       what a worker asks of the others; without others, each answer is its own
"""

from __future__ import annotations

from variantforge.stages.train.processes.layout import Layout
from variantforge.stages.train.processes.share import shared, sharing_problem

__all__ = ["Layout", "shared", "sharing_problem"]
