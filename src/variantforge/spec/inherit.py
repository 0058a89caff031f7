"""Family defaults flow into variants; what a variant sets itself wins."""

from __future__ import annotations

from typing import Any, TypeVar

from variantforge.errors import UsageError
from variantforge.spec.edges import circle_sentence, circles, graph_of, ordered
from variantforge.spec.family import AdapterSpec, CalibrationSpec, FamilySpec, Section, TrainSpec, VariantSpec

S = TypeVar("S", bound=Section)
_MADE_OF: Any = {
    "variants": {"__all__": {"from_": True, "data": True, "train": {"method", "teacher"}, "calibration": {"datasets"}}},
    "datasets": {"__all__": {"prompts", "teacher"}},
}


def inherit(spec: FamilySpec) -> FamilySpec:
    """A new spec whose variants say everything themselves: method and adapter field by field, ``args`` key by key
    (but for a variant of another method, which starts from that method's own), ``resources`` key by key too,
    ``quantize`` where the variant has none of its own (an empty list is its own), ``calibration`` key by key (none at
    all where the variant says null). ``inherit`` twice is once.
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
    if defaults.calibration and (variant.calibration or "calibration" not in own):
        changed["calibration"] = _over(defaults.calibration, variant.calibration or CalibrationSpec())
    if "resources" in defaults.model_fields_set:
        changed["resources"] = _over(defaults.resources, variant.resources)
    return variant.model_copy(update=changed) if changed else variant


def _train(default: TrainSpec, own: TrainSpec) -> TrainSpec:
    """Both merged; the values were checked when they were read, so nothing is validated again.

    Arguments belong to a method: another one starts without them, since it may not know them, or mean something else
    by them (a learning rate that suits sft ruins dpo).
    """
    adapter = _adapter(default.adapter, own.adapter)
    another = own.method != default.method and "method" in own.model_fields_set
    args = own.args if another else {**default.args, **own.args}
    return _over(default, own).model_copy(update={"adapter": adapter, "args": args})


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
    """Names of the variants: file order, but one that others are made of (``from``, a teacher) before those.

    Raises UsageError when that goes in a circle; a spec read by ``load_family`` has none.
    """
    graph = graph_of(spec.model_dump(include=_MADE_OF, by_alias=True))
    for circle in circles(graph):
        raise UsageError(circle_sentence(circle), next=f"change {'.'.join(map(str, circle[0].path))}")
    order = ordered(graph, [("variants", name) for name in spec.variants])
    return [name for kind, name in order if kind == "variants"]
