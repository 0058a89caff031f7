"""A plan: every step of a family, and where in the family each stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from variantforge.errors import UsageError
from variantforge.registry import near
from variantforge.stages import PIPELINE, Place
from variantforge.step import Step

_NAMED = 8  # variants that share a step are named up to here, then counted


class FamilyNames(Protocol):
    """What a plan knows of its family: a ``FamilySpec``, or what was remembered of one."""

    @property
    def family(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def variants(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Plan:
    """``steps``: key -> step, inputs before what needs them. ``places``: where in the family each key stands."""

    family: FamilyNames
    steps: Mapping[str, Step]
    places: Mapping[Place, str]

    @cached_property
    def places_of(self) -> dict[str, list[Place]]:
        by_key: dict[str, list[Place]] = {}
        for place, key in self.places.items():
            by_key.setdefault(key, []).append(place)
        return by_key

    def label(self, key: str) -> str:
        """What people call a step: its place, with the variants that share it (the first few by name)."""
        first, *others = self.places_of[key]
        shared = [place.variant for place in others if place.variant and place.variant != first.variant]
        if len(shared) > _NAMED:
            shared = [*shared[: _NAMED - 1], f"{len(shared) - _NAMED + 1:,} more"]
        return f"{first}{' = ' + ', '.join(shared) if shared else ''}"

    def select(self, *, until: str | None = None, only: Iterable[str] = ()) -> frozenset[str]:
        """Keys of the steps asked for, and of all that they need. Raises UsageError for unknown names."""
        variants, known = list(only), list(self.family.variants)
        for variant in variants:
            if variant not in known:
                hint = near(variant, known) or f" There are: {', '.join(known)}."
                raise UsageError(f"no variant '{variant}'.{hint}")
        if until is not None and until not in PIPELINE:
            raise UsageError(f"no stage '{until}'.{near(until, list(PIPELINE))} Stages: {', '.join(PIPELINE)}.")
        if until is None and not variants:
            return frozenset(self.steps)
        stages = PIPELINE[: PIPELINE.index(until) + 1] if until else PIPELINE
        wanted = [
            key
            for place, key in self.places.items()
            if place.stage in stages and (not variants or place.variant in variants)
        ]
        return frozenset(self._with_inputs(wanted))

    def _with_inputs(self, keys: list[str]) -> Iterator[str]:
        seen: set[str] = set()
        todo = list(keys)
        while todo:
            key = todo.pop()
            if key not in seen:
                seen.add(key)
                yield key
                todo.extend(self.steps[key].inputs.values())
