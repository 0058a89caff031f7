"""What was measured of every item, published beside the family page: the next release is compared with it in pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from variantforge.stages.evaluate.metric import BASE, MERGED, subjects
from variantforge.stages.gate.outcomes import outcomes_file, outcomes_text
from variantforge.stages.stage import Desk, Place
from variantforge.step import StepContext

if TYPE_CHECKING:
    from variantforge.spec.family import VariantSpec

_ROLE = "outcomes"


def outcome_inputs(desk: Desk) -> dict[str, str]:
    """Role -> key of every evaluation of what may ship: ``outcomes:VARIANT:EVALUATION:SUBJECT``."""
    steps = {
        f"{_ROLE}:{name}:{title}:{subject}": desk.step(Place("evaluate", name, f"{title}:{subject}"))
        for name, variant in desk.family.variants.items()
        for title in desk.family.evaluate
        for subject in _shippable(variant)
    }
    return {role: step.key for role, step in steps.items() if step}


def _shippable(variant: VariantSpec) -> list[str]:
    return [subject for subject in subjects(variant) if subject != BASE]


def outcome_texts(context: StepContext, page: Mapping[str, Any]) -> dict[str, str]:
    """File name -> text, of what ships; ``page``: the facts of the family page."""
    return dict(_texts(context, page))


def _texts(context: StepContext, page: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    family = {name: context.step.params[name] for name in ("family", "version")}
    for role in sorted(context.step.inputs):
        if role.startswith(f"{_ROLE}:"):
            variant, title, subject = role.split(":", 3)[1:]
            if _ships(page["repos"], variant, subject):
                told = {**family, "variant": variant, "evaluation": title, "subject": subject}
                yield outcomes_file(variant, title, subject), outcomes_text(context.inputs[role], told)


def _ships(repos: list[Mapping[str, Any]], variant: str, subject: str) -> bool:
    """Whether a repo that ships holds the subject: the merged weights (or the adapter to them), or one of its files."""
    method, _, kind = subject.partition(":")
    for repo in repos:
        holds = repo["form"] in ("merged", "adapter") if subject == MERGED else repo["form"] == method
        kept_back = any(file.removesuffix(".gguf").endswith(f"-{kind}") for file in repo["withheld"]) if kind else False
        if repo["variant"] == variant and holds and not repo["refusal"] and not kept_back:
            return True
    return False
