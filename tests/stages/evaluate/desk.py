"""A desk to plan one stage at: what earlier stages would have laid out already lies there."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

from variantforge.refs import Ref
from variantforge.spec.family import FamilySpec
from variantforge.stages.stage import Place, Released, Stage
from variantforge.step import Pin, Step

T = TypeVar("T")


class Table:
    """Implements ``Desk`` for a family whose variants' base, data, merge and quantize steps are there."""

    def __init__(self, family: FamilySpec, missing: frozenset[Place] = frozenset()) -> None:
        self.family, self.folder, self.at_key = family, Path(), ""
        self.problems: list[tuple[str, str]] = []
        self.reasons: dict[str, str] = {}
        self.places: dict[Place, Step] = {}
        for name, variant in family.variants.items():
            for place in (
                Place("base", name),
                Place("data", name, "mix"),
                Place("merge", name),
                *(Place("quantize", name, format) for format in variant.quantize),
            ):
                if place not in missing:
                    who = "" if place.stage == "base" else str(variant.data.mix) if place.stage == "data" else name
                    self.places[place] = Step(place.stage, 1, "made", {"of": who, "name": place.name})

    @classmethod
    def of(
        cls,
        *,
        variants: dict[str, Any] | None = None,
        quantize: list[str] | None = None,
        missing: Any = (),
        **family: Any,
    ) -> Table:
        formats = ["nf4", "gguf:Q8_0"] if quantize is None else quantize
        one = {"kind": "code", "data": {"mix": {"rows": 1.0}}, "quantize": formats}
        whole = {
            "family": "tiny",
            "base": {"model": "org/tiny"},
            "datasets": {"rows": {"path": "./rows.jsonl"}, "more": {"path": "./more.jsonl"}},
            "variants": variants or {"code": one},
            "evaluate": {"heldout": {"evaluator": "perplexity"}},
            **family,
        }
        return cls(FamilySpec.model_validate(whole), frozenset(missing))

    def plan(self, stage: Stage) -> None:
        for name, variant in self.family.variants.items():
            stage.plan(self, name, variant)
        stage.plan(self, None, None)

    def pin(self, ref: Ref, *, key: str, dataset: bool = False) -> Pin | None:
        raise AssertionError("nothing is pinned here")

    def pin_files(self, files: list[Path], *, key: str) -> Pin | None:
        raise AssertionError("nothing is pinned here")

    def look(self, path: Path | str) -> None:
        raise AssertionError("nothing is looked at here")

    def once(self, work: Callable[..., T], *arguments: Hashable) -> T:
        return work(self.family, *arguments)

    def add(self, place: Place, step: Step) -> Step:
        self.places[place] = step
        return step

    def step(self, place: Place) -> Step | None:
        return self.places.get(place)

    def released_before(self) -> Released | None:
        return None

    def forced(self, gate: str) -> str:
        return self.reasons.get(gate, "")

    def problem(self, key: str, text: str) -> None:
        self.problems.append((key, text))

    def place_of(self, key: str) -> Place:
        return next(place for place, step in self.places.items() if step.key == key)
