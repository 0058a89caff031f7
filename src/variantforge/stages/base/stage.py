"""The base model: pinned, looked at, and materialised once as clean bf16 safetensors.

Nothing from a model is executed: pickles and models with code of their own are refused, GGUF and safetensors
headers are checked in pure Python before any other parser reads them.
"""

from __future__ import annotations

from typing import NamedTuple

from variantforge.errors import BaseError
from variantforge.refs import Ref
from variantforge.spec.family import FamilySpec, VariantSpec
from variantforge.stages.base.legal import LEGAL, bring_legal, plan_legal
from variantforge.stages.base.look import BaseFacts, inspect_base
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Pin, Step, StepContext

FAMILY_BASE = "base.model"  # key path of the base that variants have unless they say otherwise


class BaseStage:
    name = "base"
    version = 1
    heavy = True
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            return
        found = find_base(desk, name, variant)
        if found is None:
            return
        step, facts, key = found
        if variant.kind == "instruct" and facts.has_template is False:
            desk.problem(
                f"variants.{name}.kind",
                f"'instruct' needs a chat template, and the base at {key} has none: "
                "use an instruct model as base, or another kind",
            )
        desk.add(Place("base", name), step)
        plan_legal(desk, name, step)
        if facts.license is not None and not base_license(desk, name):
            desk.problem(
                "base.license" if key == FAMILY_BASE else key,
                f"the base at {key} does not name its licence: "
                + ("write its id here, e.g. apache-2.0" if key == FAMILY_BASE else "use one that does"),
            )

    def do(self, context: StepContext) -> None:
        if context.step.method == LEGAL:
            bring_legal(context)
            return
        from variantforge.stages.base.materialise import materialise

        materialise(context)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


STAGE = BaseStage()


def find_base(desk: Desk, name: str, variant: VariantSpec) -> tuple[Step, BaseFacts, str] | None:
    """The base step of a variant, what is known of it, and the key path that names it; None after a problem."""
    model, revision, key = base_of(desk.family, name, variant)
    ref = _with_revision(desk, Ref.parse(model), revision)
    pin = desk.pin(ref, key=key) if ref else None
    if pin is None:
        return None
    try:
        facts = inspect_base(pin)
    except BaseError as error:
        desk.problem(key, one_sentence(error))
        return None
    return desk.once(step_of_base, facts.method, pin), facts, key


def step_of_base(family: FamilySpec, method: str, pin: Pin) -> Step:
    """``method``: as ``inspect_base`` says of the pin."""
    return Step("base", STAGE.version, method, pins={"model": pin})


def base_of(family: FamilySpec, name: str, variant: VariantSpec) -> tuple[str, str | None, str]:
    """Model, revision and key path of a variant's base: its own, else that of the variant it starts from, else the
    family's."""
    seen: set[str] = set()
    while variant.base is None and variant.from_ in family.variants and name not in seen:
        seen.add(name)
        name, variant = str(variant.from_), family.variants[str(variant.from_)]
    if variant.base is not None:
        return variant.base, None, f"variants.{name}.base"
    return family.base.model, family.base.revision, FAMILY_BASE


class KnownBase(NamedTuple):
    """A variant's base: what ``base_of`` says, and its pin where it was found."""

    model: str
    revision: str | None
    key: str
    pin: Pin | None


def known_base(desk: Desk, name: str) -> KnownBase:
    """For stages that plan after this one."""
    step = desk.step(Place("base", name))
    return KnownBase(*base_of(desk.family, name, desk.family.variants[name]), step.pins["model"] if step else None)


def base_license(desk: Desk, name: str) -> str:
    """The licence of a variant's base: see ``license_of``."""
    return desk.once(license_of, known_base(desk, name))


def license_of(family: FamilySpec, base: KnownBase) -> str:
    """What the family states of its own base, else what the base says; '' when only the materialised base will tell
    (``license`` in its facts), or none does."""
    if base.key == FAMILY_BASE and family.base.license != "inherit":
        return family.base.license
    return (inspect_base(base.pin).license or "") if base.pin else ""


def name_of(family: FamilySpec, base: KnownBase) -> str:
    """What people call a base: its Hub id, the name its files give, else the last part of its ref."""
    if base.key == FAMILY_BASE and family.base.name:
        return family.base.name
    ref = Ref.parse(base.model)
    if ref.kind == "hub":
        return ref.name
    named = inspect_base(base.pin).name if base.pin else ""
    return named or ref.name.rstrip("/").rpartition("/")[2].removesuffix(".gguf")


def one_sentence(error: BaseError) -> str:
    return "; ".join(part for part in (error.what, error.why, error.next) if part)


def _with_revision(desk: Desk, ref: Ref, revision: str | None) -> Ref | None:
    if revision is None:
        return ref
    if ref.kind != "hub":
        desk.problem("base.revision", "only a model on the Hub has revisions; leave this out")
        return None
    if ref.revision not in (None, revision):
        desk.problem("base.revision", f"base.model already says @{ref.revision}; write one of the two")
        return None
    return Ref(ref.kind, ref.name, revision)
