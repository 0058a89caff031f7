"""The protocol of a stage: how one kind of step is planned and done.

A stage never knows the whole plan, the store, or the executor. While planning it sits at a ``Desk``; while doing
it is handed a ``StepContext``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, runtime_checkable

from variantforge.refs import Ref
from variantforge.step import Artifact, Pin, Step, StepContext

if TYPE_CHECKING:
    from variantforge.spec.family import FamilySpec, VariantSpec

T = TypeVar("T")


class Place(NamedTuple):
    """Where a step stands in the family; several places may hold one step.

    base/V  data/-/DATASET  data/V/mix  train/V  merge/V  quantize/V/FORMAT  evaluate/V/EVALUATION:SUBJECT
    gate/V/SUBJECT  gate/-/family  card/V/FORM  card/-/family  publish/V/FORM  publish/-/family

    SUBJECT is what is measured and shipped: ``base``, ``merged`` or a quantized FORMAT such as ``gguf:Q4_K_M``.
    FORM is what a repo holds: a row of ``FORMS`` (``merged``, ``adapter``, ``gguf``, ``nf4``, ...).
    """

    stage: str
    variant: str | None = None
    name: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


class Released(NamedTuple):
    """The release before this one: its version, and the files of per-item outcomes that it published, by name."""

    version: str
    files: Mapping[str, Pin]


class Desk(Protocol):
    """What a stage may ask and do while planning. No torch, no network but through ``pin``."""

    family: FamilySpec
    folder: Path  # relative paths in the spec start here
    at_key: str  # key path of the variant being planned: "variants.code", or ""

    def pin(self, ref: Ref, *, key: str, dataset: bool = False) -> Pin | None:
        """The bytes behind a ref, pinned. When there are none, a problem at key path ``key`` and None.

        ``dataset``: on the Hub it is a dataset, also where ``key`` is not that of one."""

    def pin_files(self, files: list[Path], *, key: str) -> Pin | None:
        """Local files pinned as one (digest over name and content of each; ``at`` is their common folder)."""

    def look(self, path: Path | str) -> None:
        """Say it of every path that planning reads, before it does: a plan is remembered with what it looked at."""

    def once(self, work: Callable[..., T], *arguments: Hashable) -> T:
        """``work(family, *arguments)``, worked out at the first asking: what thousands of variants share."""

    def add(self, place: Place, step: Step) -> Step:
        """Lays a step out at a place; returns the step that stands there."""

    def step(self, place: Place) -> Step | None:
        """The step laid out at a place earlier, if any."""

    def inputs_of(self, step: Step) -> dict[str, Step]:
        """Role -> step, of what a laid out step takes in."""

    def released_before(self) -> Released | None:
        """What the newest release below this version published; None when this is the first."""

    def forced(self, gate: str) -> str:
        """Why what the gate with this key refuses ships all the same, as somebody wrote; '' for nearly all."""

    def problem(self, key: str, text: str) -> None:
        """Something wrong in the spec, at a key path. Planning goes on, so that all problems are told at once."""


class Stage(Protocol):
    """``name`` is the folder in the store, ``version`` moves when equal parameters now give other bytes.

    ``heavy`` steps import torch: they run where memory is given back. ``takes_refused`` stages are run although
    an input was refused by a gate (a card of several files leaves the refused ones out).
    """

    name: str
    version: int
    heavy: bool
    takes_refused: bool

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        """Lays out this stage's steps for one variant, or (with None, None, after all variants) for the family."""

    def do(self, context: StepContext) -> None:
        """Does one step: fills ``context.out`` and calls ``context.write_facts``."""

    def stale(self, step: Step, artifact: Artifact) -> str:
        """Why a finished step must be done again although its artifact is whole (a published folder is gone)."""


@runtime_checkable
class Shrinking(Protocol):
    """A stage whose steps end the same with less memory, after having asked for more than there was."""

    def shrink(self, context: StepContext, why: str) -> None:
        """Called outside of the step's process, which was killed for its memory (``why``: a sentence): notes in
        ``scratch`` that the next try is to need less. Raises what ends the step when it cannot."""
