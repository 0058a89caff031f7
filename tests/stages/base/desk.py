"""A desk to plan single stages at: the real resolver, problems kept as a list."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from variantforge.errors import UsageError
from variantforge.plan.pin import Resolver
from variantforge.refs import Ref
from variantforge.spec.family import FamilySpec
from variantforge.stages.base.stage import STAGE
from variantforge.stages.stage import Place
from variantforge.step import Pin, Step

T = TypeVar("T")


@dataclass
class PlainDesk:
    family: FamilySpec
    folder: Path
    at_key: str = ""
    steps: dict[Place, Step] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def pin(self, ref: Ref, *, key: str, dataset: bool = False) -> Pin | None:
        try:
            return Resolver(folder=self.folder).pin(ref)
        except UsageError as error:
            self.problem(key, str(error))
            return None

    def pin_files(self, files: list[Path], *, key: str) -> Pin | None:
        return Resolver(folder=self.folder).pin_files(files)

    def look(self, path: Path | str) -> None:
        pass

    def once(self, work: Callable[..., T], *arguments: Hashable) -> T:
        return work(self.family, *arguments)

    def add(self, place: Place, step: Step) -> Step:
        return self.steps.setdefault(place, step)

    def step(self, place: Place) -> Step | None:
        return self.steps.get(place)

    def problem(self, key: str, text: str) -> None:
        self.problems.append((key, text))


def family(base: str | dict[str, Any], variants: dict[str, dict[str, Any]] | None = None) -> FamilySpec:
    """A family with this base; each variant needs only what matters ({"kind": ...} and domain are filled in)."""
    wanted = variants or {"v": {}}
    return FamilySpec.model_validate(
        {
            "family": "f",
            "base": {"model": base} if isinstance(base, str) else base,
            "variants": {
                name: {"kind": "domain", "data": {"mix": {"d": 1.0}}, **variant} for name, variant in wanted.items()
            },
        }
    )


def planned(spec: FamilySpec, folder: Path = Path()) -> PlainDesk:
    desk = PlainDesk(spec, folder)
    for name, variant in spec.variants.items():
        STAGE.plan(desk, name, variant)
    STAGE.plan(desk, None, None)
    return desk
