"""The family page: every repo of the family, what was measured, what was withheld and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from variantforge.spec.forms import FORMS
from variantforge.stages.card.facts import Inputs, Measurement, compared
from variantforge.stages.card.front_matter import family_front_matter
from variantforge.stages.card.managed import card_text
from variantforge.stages.card.markdown import Markdown, hub_link, plain, render
from variantforge.stages.card.repos import PAGE
from variantforge.step import Artifact, Step


def family_page(step: Step, inputs: Inputs) -> tuple[dict[str, str], dict[str, Any]]:
    """README.md and the page's facts. Cards are its inputs, under ``VARIANT:FORM``."""
    told = step.params
    variants = [_variant(name, told, inputs) for name in told["order"]]
    repos = [repo for variant in variants for repo in variant["repos"]]
    facts = {
        "title": told["family"]["title"],
        "repos": [
            {field: repo[field] for field in ("repo", "variant", "form", "card", "withheld", "refusal")}
            for repo in repos
        ],
        "refusal": "",
    }
    withheld = [(repo["folder"], repo["refusal"]) for repo in repos if repo["refusal"]]
    withheld += [(file, why) for repo in repos if not repo["refusal"] for file, why in repo["withheld"].items()]
    shipped = [repo for repo in repos if not repo["refusal"]]
    body = render(
        "family.md.jinja",
        told=told,
        variants=variants,
        withheld=withheld,
        measured=any(variant["compared"] for variant in variants),
        shipped=[repo["repo"] for repo in shipped],
        forms={form: held for form, held in FORMS.items() if any(repo["form"] == form for repo in shipped)},
        contexts=sorted({it["context"] for repo in shipped for it in repo["memory"].values()}),
    )
    licenses = {card.facts["license"] for card in inputs.values() if not card.refusal}
    return {PAGE: card_text(family_front_matter(told, licenses), body)}, facts


def _variant(name: str, told: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    words = told["variants"][name]
    forms = [(form, words["repos"][form]) for form in FORMS if form in words["repos"]]
    cards = [(form, id, card) for form, id in forms if (card := inputs.get(f"{name}:{form}"))]
    # Base against merged weights: every card of a variant holds the same.
    measured = [Measurement(**it) for _, _, card in cards for it in card.facts["measured"]]
    repos = [_repo(form, id, card, bool(told["index"])) for form, id, card in cards]
    return {"name": name, **words, "repos": repos, "compared": compared(measured, "merged")}


def _repo(form: str, id: str, card: Artifact, on_hub: bool) -> dict[str, Any]:
    told = {field: card.facts[field] for field in ("repo", "variant", "form", "withheld", "refusal", "memory")}
    folder = id.partition("/")[2]
    return told | {
        "folder": folder,
        "link": hub_link(id) if on_hub else Markdown(f"[{plain(folder)}](./{folder}/)"),
        "least": min((it["total_bytes"] for it in card.facts["memory"].values()), default=None),
        "card": card.key,
        "what": FORMS[form].title,
        "types": [file.removesuffix(".gguf").rpartition("-")[2] for file in card.facts["files"]],
        "gated": bool(card.facts["verdicts"]),
    }
