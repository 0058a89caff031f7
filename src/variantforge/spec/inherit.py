"""Family defaults flow into variants; what a variant sets itself wins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from variantforge.errors import UsageError
from variantforge.spec.family import AdapterSpec, FamilySpec, Section, TrainSpec, VariantSpec

S = TypeVar("S", bound=Section)


def inherit(spec: FamilySpec) -> FamilySpec:
    """A new spec whose variants say everything themselves: method and adapter field by field, ``args`` key by key,
    ``resources`` key by key too, ``quantize`` where the variant has none of its own (an empty list is its own).
    ``inherit`` twice is once.
    """
    variants = {name: _with_defaults(spec, variant) for name, variant in spec.variants.items()}
    return spec.model_copy(update={"variants": variants})


def _with_defaults(spec: FamilySpec, variant: VariantSpec) -> VariantSpec:
    own, defaults = variant.model_fields_set, spec.defaults
    changed: dict[str, Any] = {}
    if "train" in defaults.model_fields_set:
        changed["train"] = _train(defaults.train, variant.train) if "train" in own else defaults.train
    if "quantize" in defaults.model_fields_set and "quantize" not in own:
        changed["quantize"] = defaults.quantize
    if "resources" in defaults.model_fields_set:
        changed["resources"] = _over(defaults.resources, variant.resources)
    return variant.model_copy(update=changed) if changed else variant


def _train(default: TrainSpec, own: TrainSpec) -> TrainSpec:
    """Both merged; the values were checked when they were read, so nothing is validated again."""
    adapter = _adapter(default.adapter, own.adapter)
    return _over(default, own).model_copy(update={"adapter": adapter, "args": {**default.args, **own.args}})


def _adapter(default: AdapterSpec, own: AdapterSpec) -> AdapterSpec:
    """Field by field, ``args`` key by key; but a type with another config class in PEFT starts from nothing."""
    if (
        "type" in own.model_fields_set
        and own.config_type != default.config_type
        and "full" not in (own.type, default.type)
    ):
        return own
    return _over(default, own).model_copy(update={"args": {**default.args, **own.args}})


def _over(default: S, own: S) -> S:
    return default.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def in_order(spec: FamilySpec) -> list[str]:
    """Names of the variants: file order, but a variant that others start from (``from``) before those.

    Raises UsageError when ``from`` goes in a circle; a spec read by ``load_family`` has none.
    """
    parents = {name: variant.from_ for name, variant in spec.variants.items() if variant.from_}
    for circle in circles(parents):
        raise UsageError(circle_sentence(circle), next="remove one 'from' of the circle")
    order: dict[str, None] = {}
    for name in spec.variants:
        line = [name]
        while (parent := parents.get(line[-1])) in spec.variants and parent not in order:
            line.append(str(parent))
        order.update(dict.fromkeys(reversed(line)))
    return list(order)


def circle_sentence(circle: list[str]) -> str:
    names = circle if len(circle) <= 9 else [*circle[:4], "...", *circle[-4:]]
    return f"'from' goes in a circle: {' -> '.join(names)}"


def circles(parents: Mapping[str, str]) -> list[list[str]]:
    """Every circle in ``name -> parent``, once and closed: ``[["a", "b", "a"]]``."""
    found: list[list[str]] = []
    done: set[str] = set()
    for name in parents:
        line: list[str] = []
        step: str | None = name
        here: set[str] = set()
        while step is not None and step not in done and step not in here:
            line.append(step)
            here.add(step)
            step = parents.get(step)
        if step is not None and step in here:
            found.append([*line[line.index(step) :], step])
        done |= here
    return found
