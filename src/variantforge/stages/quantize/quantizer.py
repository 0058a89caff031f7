"""The protocol of a quantizer: one way to store a model's weights in fewer bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from variantforge.stages.stage import Desk
from variantforge.step import Step, StepContext

if TYPE_CHECKING:
    from variantforge.spec.family import VariantSpec

VERSION = 1  # of the stage: moves when equal parameters give other bytes


class Quantizer(Protocol):
    """Named in a family file as ``method`` or ``method:TYPE``. A row is the class; it is made without arguments."""

    types: tuple[str, ...]  # what may stand behind the colon; () when nothing may

    def inputs(self, desk: Desk, variant: str, type: str) -> Mapping[str, str] | None:
        """Role -> key of what the step needs beside ``model``; may lay out steps of its own.

        None when an earlier problem keeps it from being planned.
        """

    def do(self, context: StepContext) -> None:
        """Does the step, whose ``params["type"]`` is the type: fills ``context.out`` and writes the facts."""


@runtime_checkable
class Choosy(Protocol):
    """A quantizer that cannot make all of its types of every variant."""

    def lacks(self, variant: VariantSpec, type: str) -> str:
        """What the variant must declare for ``type``, as a sentence; '' when it may be made."""


def quantize_step(method: str, type: str, inputs: Mapping[str, str], **params: Any) -> Step:
    """The step of one format; quantizers that need steps of their own lay them out with this too."""
    return Step("quantize", VERSION, method, {**({"type": type} if type else {}), **params}, inputs)
