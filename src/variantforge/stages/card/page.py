"""The family page: every repo of the family, what was measured, what was withheld and why."""

from __future__ import annotations

from typing import Any

from variantforge.stages.card.facts import Inputs, Measurement, compared
from variantforge.stages.card.markdown import render
from variantforge.step import Artifact, Step

# What the page shows first of each form; the order is that of the repos.
FORMS = {
    "merged": "full weights (transformers)",
    "adapter": "adapter (peft)",
    "gguf": "GGUF files (llama.cpp, Ollama)",
    "nf4": "NF4 weights (bitsandbytes)",
}


def family_page(step: Step, inputs: Inputs) -> tuple[str, dict[str, Any]]:
    """The text of README.md and the page's facts. Cards are its inputs, under ``VARIANT:FORM``."""
    told = step.params
    variants = [_variant(name, told["variants"][name], inputs) for name in told["order"]]
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
    measured = any(variant["compared"] for variant in variants)
    return render("family.md.jinja", told=told, variants=variants, withheld=withheld, measured=measured), facts


def _variant(name: str, words: dict[str, Any], inputs: Inputs) -> dict[str, Any]:
    forms = [(form, words["repos"][form]) for form in FORMS if form in words["repos"]]
    cards = [(form, id, card) for form, id in forms if (card := inputs.get(f"{name}:{form}"))]
    # Base against merged weights: every card of a variant holds the same.
    measured = [Measurement(**it) for _, _, card in cards for it in card.facts["measured"]]
    repos = [_repo(form, id, card) for form, id, card in cards]
    return {"name": name, **words, "repos": repos, "compared": compared(measured, "merged")}


def _repo(form: str, id: str, card: Artifact) -> dict[str, Any]:
    told = {field: card.facts[field] for field in ("repo", "variant", "form", "withheld", "refusal")}
    return told | {
        "folder": id.partition("/")[2],
        "card": card.key,
        "what": FORMS[form],
        "types": [file.removesuffix(".gguf").rpartition("-")[2] for file in card.facts["files"]],
        "gated": bool(card.facts["verdicts"]),
    }
