"""What a card's links, snippets and commands name: repos on the Hub, or folders beside each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from variantforge.spec.forms import FORMS
from variantforge.stages.card.adapter import trained_as, trained_by, vllm_rank
from variantforge.stages.card.descent import PARENT, started_from
from variantforge.stages.card.markdown import Markdown, hub_link, plain

Told = Mapping[str, Any]  # the card's parameters: see ``params``

PROMPTS = {
    "instruct": "Give me three tips for a good night's sleep.",
    "code": "Write a Python function that reverses the words of a sentence.",
    "domain": "What can you tell me about this field?",
}


def addresses(told: Told, form: str, withheld: Collection[str]) -> dict[str, Any]:
    """For the templates. ``others``: form -> link, of the repos of the same variant that ship; ``start``: what an
    adapter is loaded onto; ``max_lora_rank``: what vLLM must be told of it, None when it does not take it;
    ``trained_by`` and ``trained_as``: the method and what was trained, in words."""
    others = [it for it in FORMS if it in told["repos"] and it != form and it not in withheld]
    parent = told["parent"].get("repo") if PARENT not in withheld else ""
    return {
        "address": told["repo"] if told["on_hub"] else _folder(told["repo"]),
        "prompt": PROMPTS[told["variant"]["kind"]],
        "parent": _link(told, parent) if parent else "",
        "others": {it: _link(told, told["repos"][it]) for it in others},
        "start": _start(told, withheld),
        "max_lora_rank": vllm_rank(told["train"]["adapter"]),
        "trained_by": trained_by(told["train"]["method"]),
        "trained_as": trained_as(told["train"]["adapter"]),
    }


def _link(told: Told, id: str) -> Markdown:
    """To another repo of the family: on the Hub, or in the folder beside this one."""
    return hub_link(id) if told["on_hub"] else Markdown(f"[{plain(_folder(id))}](../{_folder(id)}/)")


def _folder(id: str) -> str:
    return id.partition("/")[2]


def _start(told: Told, withheld: Collection[str]) -> dict[str, Any]:
    """What the snippet of an adapter loads first: an id, a file of a package, or a folder the reader has."""
    base, parent = told["base"], told["parent"]
    if "package" in base and not parent:  # the very weights it was trained on, even where the base has a Hub id too
        return {"package": base["package"], "file": base["file"], "on_hub": False}
    if id := started_from(told, withheld):
        return {"model": id, "note": Markdown(""), "on_hub": True}
    if parent.get("repo") and PARENT not in withheld:
        return {"model": _folder(parent["repo"]), "note": Markdown(""), "on_hub": False}
    return {
        "model": parent.get("name") or base["name"],
        "note": Markdown("  # your folder of these weights"),
        "on_hub": False,
    }
