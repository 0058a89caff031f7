"""The protocol of a reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from variantforge.spec.family import Section

if TYPE_CHECKING:
    from variantforge.stages.stage import Desk
    from variantforge.step import Pin


@dataclass(frozen=True)
class Answer:
    """What the model wrote to the prompt of a row: its text without special tokens, and its token ids."""

    row: Mapping[str, Any]
    text: str
    ids: Sequence[int]


@dataclass(frozen=True)
class Score:
    """``value``: a finite number, or None where the reward has nothing to say of this row. ``why`` is counted, shown
    beside samples, and needs a handful of different words at most ("timeout")."""

    value: float | None
    why: str = ""


class Reward(Protocol):
    """One way to score answers. ``Params`` is what a user may write beside ``reward:``; it forbids the rest.

    ``version`` enters keys: it moves when equal answers are now scored otherwise. ``reads``: the field of a row without
    which it cannot score ("" for none). One that runs what the model wrote also says ``sandboxed = True``: a run is
    then refused before its first step where there is no sandbox.
    """

    Params: type[Section]
    version: int
    reads: str

    def __init__(self, params: Any, pins: Mapping[str, Pin]) -> None:
        """``pins``: those of ``pins``. Raises VariantforgeError where it cannot work on this machine."""

    @staticmethod
    def pins(params: Any, desk: Desk, key: str) -> Mapping[str, Pin]:
        """Asked while planning: foreign bytes that decide scores (role -> pin). Tells problems at ``desk``."""

    def score(self, answers: Sequence[Answer]) -> Sequence[Score]:
        """One score for each answer, in order. What it raises ends the training: a crash is no score."""


class Plain:
    """For rewards that rest on their parameters alone."""

    version = 1
    reads = ""

    def __init__(self, params: Any, pins: Mapping[str, Pin]) -> None:
        self.params = params

    @staticmethod
    def pins(params: Any, desk: Desk, key: str) -> Mapping[str, Pin]:
        return {}
