"""The protocol of a training method: one file and one row of METHODS for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from variantforge.step import Pin, StepContext

if TYPE_CHECKING:
    from variantforge.spec.family import VariantSpec
    from variantforge.stages.stage import Desk


@dataclass(frozen=True)
class Needs:
    """What a method puts into a train step beside base, data, adapter and arguments (a teacher, rewards)."""

    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, Pin] = field(default_factory=dict)


class Method(Protocol):
    """A way of training. ``version`` enters the step's params: it moves when equal args now give other bytes.

    ``rows``: the kinds of rows (``stages.rows.KINDS``) that it learns from. ``defaults``: what holds for arguments of
    its TRL config that the user leaves out; a change there asks for a new ``version``.
    """

    version: int
    rows: tuple[str, ...]
    defaults: Mapping[str, Any]

    def needs(self, desk: Desk, name: str, variant: VariantSpec) -> Needs | None:
        """Asked while planning: no torch. Tells problems at ``desk``; None after one that leaves nothing to lay out."""

    def train(self, context: StepContext) -> None:
        """Does the step: fills ``context.out`` and writes its facts."""
