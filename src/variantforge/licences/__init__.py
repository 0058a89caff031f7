"""Licences: which there are, what each asks, and whether sources under them may become one model.

``judge`` is pure: what sources say and where the model goes are handed in, a judgement with its duties comes back.
"""

from __future__ import annotations

from variantforge.licences.judge import judge
from variantforge.licences.names import canonical
from variantforge.licences.question import Allowed, Duty, Judgement, Reason, Refused, Source, Target
from variantforge.licences.table import LICENCES

__all__ = [
    "LICENCES",
    "Allowed",
    "Duty",
    "Judgement",
    "Reason",
    "Refused",
    "Source",
    "Target",
    "canonical",
    "judge",
]
