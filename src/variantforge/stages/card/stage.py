"""The cards of a family: one per repo, and the page that links them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from variantforge.fsops import write_text
from variantforge.spec.family import VariantSpec
from variantforge.stages.card.descent import PARENT
from variantforge.stages.card.page import family_page
from variantforge.stages.card.params import card_params, family_params, variant_params
from variantforge.stages.card.repo_card import repo_card
from variantforge.stages.card.repos import Repo, formats_of, forms_of, naming_problems, repo, repos_of, unmade_forms
from variantforge.stages.card.teachers import teacher_inputs
from variantforge.stages.evaluate.metric import CLEAN
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Step, StepContext


class Card:
    """Writes README.md, and ``.eval_results/`` where a registered benchmark was run. A refused repo gets no README,
    only facts that say why; so it is not published."""

    name = "card"
    version = 3
    heavy = False
    takes_refused = True

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        if name is None or variant is None:
            self._plan_family(desk)
            return
        shared = variant_params(desk, name)
        for form in forms_of(desk.family, variant):
            this = repo(desk.family, name, form)
            inputs = dict(_inputs(desk, this))
            if self._payload(this, variant) <= inputs.keys():
                step = Step(self.name, self.version, form, card_params(desk, this, shared), inputs)
                desk.add(Place(self.name, name, form), step)

    def _plan_family(self, desk: Desk) -> None:
        for problem in naming_problems(desk.family):
            desk.problem("publish.repo", problem)
        for number, problem in unmade_forms(desk.family):
            desk.problem(f"publish.artifacts[{number}]", problem)
        places = {f"{it.variant}:{it.form}": Place(self.name, it.variant, it.form) for it in repos_of(desk.family)}
        cards = {role: desk.step(place) for role, place in places.items()}
        inputs = {role: step.key for role, step in cards.items() if step}
        if inputs:
            step = Step(self.name, self.version, "family", family_params(desk), inputs)
            desk.add(Place(self.name, None, "family"), step)

    def _payload(self, this: Repo, variant: VariantSpec) -> set[str]:
        """Roles without which there is nothing to write a card of: an earlier stage had a problem there."""
        formats = {f"quantize:{format}" for format in formats_of(variant, this.form)}
        return {"base", "data", "train", "merge"} | formats

    def do(self, context: StepContext) -> None:
        write = family_page if context.step.method == "family" else repo_card
        texts, facts = write(context.step, context.inputs)
        for name, text in texts.items():
            write_text(context.out / name, text)
        context.write_facts(facts)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return ""


def _inputs(desk: Desk, this: Repo) -> Iterator[tuple[str, str]]:
    """Role -> key of every step that the card tells of."""
    for role, place in _places(desk, this):
        if step := desk.step(place):
            yield role, step.key


def _places(desk: Desk, this: Repo) -> Iterator[tuple[str, Place]]:
    family, name = desk.family, this.variant
    variant = family.variants[name]
    yield "base", Place("base", name)
    yield "data", Place("data", name, "mix")
    for dataset in variant.data.sources:
        yield f"rows:{dataset}", Place("data", None, dataset)
    yield from teacher_inputs(desk, name)
    yield "train", Place("train", name)
    yield "merge", Place("merge", name)
    shipped = formats_of(variant, this.form)
    for format in shipped:
        yield f"quantize:{format}", Place("quantize", name, format)
    for subject in dict.fromkeys(["base", "merged", *shipped]):
        for evaluation in family.evaluate:
            for of in (f"{evaluation}:{subject}", f"{evaluation}:{subject} {CLEAN}"):
                yield f"evaluate:{of}", Place("evaluate", name, of)
    for subject in dict.fromkeys(["merged", *variant.quantize]):  # a card names only repos that ship
        yield f"gate:{subject}", Place("gate", name, subject)
    if variant.from_:
        yield f"gate:{PARENT}", Place("gate", variant.from_, "merged")


STAGE: Any = Card()
