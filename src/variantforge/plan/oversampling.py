"""How often the rows of each source would be read, before anything is mixed: as finished rows steps have counted them.

Counts are those before doubles of other datasets leave, so what the mix step tells afterwards may be a little more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from variantforge.plan.explain import Shelf
from variantforge.plan.plan import Plan
from variantforge.spec.family import MixSpec
from variantforge.stages.data.mix import targets
from variantforge.step import Step


@dataclass(frozen=True)
class Reading:
    """``rows``: those of the source, to train on; ``times``: how often each is read. None where it is not known yet."""

    source: str
    rows: int | None
    times: float | None


def readings(plan: Plan, store: Shelf, keys: Iterable[str]) -> dict[str, list[Reading]]:
    """Key -> sources, for those of ``keys`` (of mix steps) in which rows are, or may be, not read just once."""
    found = {key: _readings(plan, store, plan.steps[key]) for key in keys}
    return {key: told for key, told in found.items() if told}


def _readings(plan: Plan, store: Shelf, step: Step) -> list[Reading]:
    spec = MixSpec(**step.params["data"])
    if not spec.epochs and spec.stopping_strategy == "first_exhausted":
        return []  # no row is repeated
    told = list(_told(spec, {name: _rows(plan, store, step.inputs[name]) for name in spec.sources}))
    return told if any(one.times is None or one.times != 1.0 for one in told) else []


def _told(spec: MixSpec, sizes: dict[str, int | None]) -> Iterator[Reading]:
    if spec.epochs:
        yield from (Reading(name, sizes[name], amount) for name, amount in spec.sources.items())
        return
    counted = {name: size for name, size in sizes.items() if size}
    wanted: dict[str, Fraction] = {}
    if spec.by == "examples" and len(counted) == len(sizes):
        wanted = targets(counted, {name: Fraction(str(weight)) for name, weight in spec.sources.items()}, spec)
    for name, size in sizes.items():
        yield Reading(name, size, round(float(wanted[name] / size), 4) if size and wanted else None)


def _rows(plan: Plan, store: Shelf, key: str) -> int | None:
    artifact = store.find(plan.steps[key])
    return int(artifact.facts["train"]) if artifact else None
