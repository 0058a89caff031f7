"""May this family be published as its file says? Asked before anything runs.

Strict where models leave the house: a public repo on the Hub. A private one is bound by what does not depend on who
sees it (names, earning money, unknown terms, forbidden outputs). A folder is nobody's publication: there everything is
told and nothing refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from variantforge.errors import LicenceRefused
from variantforge.licences import Judgement, Reason, Refused, Target
from variantforge.plan.pin import RepoType
from variantforge.plan.plan import Plan
from variantforge.stages.base.look import readme_license
from variantforge.stages.card.terms import judged
from variantforge.stages.stage import Place
from variantforge.step import Step

# ``hub:org/name@commit`` -> the licence that the card there names, '' for none, None when the Hub cannot be asked.
Ask = Callable[[str, RepoType], str | None]
_MANY = 16  # reasons and repos that a letter names one by one
_WHERE = "The terms of each licence are told in docs/licences.md."


@dataclass(frozen=True)
class Licences:
    """``judgements``: repo -> judgement, in the plan's order. ``unasked``: whose card was out of reach."""

    judgements: Mapping[str, Judgement]
    unasked: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """What does not bind here and would elsewhere, each once."""
        told = _lines(found.notes for found in self.judgements.values())
        return [
            *told,
            *(f"the Hub could not be asked which licence {name} names: yours is believed" for name in self.unasked),
        ]

    def refuse(self, file: str) -> None:
        """Raises LicenceRefused with every reason when one repo may not be published so."""
        refused = {repo: found.reasons for repo, found in self.judgements.items() if isinstance(found, Refused)}
        if refused:
            others = f" and {len(refused) - _MANY:,} more" if len(refused) > _MANY else ""
            concerned = f"Nothing was run. Concerned: {', '.join(list(refused)[:_MANY])}{others}"
            raise LicenceRefused(
                f"licences do not let this family be published as {file} says",
                why="\n".join([*_lines(refused.values()), concerned]),
                next=f"write into {file} what stands behind each arrow. {_WHERE}",
            )


def licences_of(plan: Plan, ask: Ask | None = None) -> Licences:
    """Judges every repo of the family. ``ask`` is called once for each repo on the Hub that something is made of, and
    only when this family goes to the Hub."""
    asking = cache(ask or license_on_hub)
    target, on_hub = _target(plan)
    unasked: dict[str, None] = {}
    judgements: dict[str, Judgement] = {}
    for card in _cards(plan):
        terms: dict[str, Any] = dict(card.params["terms"])
        said = _said(plan, card, asking) if on_hub else {}
        for source in (terms["base"], *terms["datasets"]):
            if said.get(source["key"] or "base", "") is None and source["stated"]:
                unasked[source["name"]] = None
        for teacher in terms.get("teachers", ()):
            if said.get(teacher["role"], "") is None and teacher["stated"]:
                unasked[teacher["name"]] = None
        judgements[card.params["repo"]] = judged(terms, target(card), _believed(terms, said))
    return Licences(judgements, tuple(unasked))


def _cards(plan: Plan) -> Iterator[Step]:
    yield from (step for step in plan.steps.values() if step.stage == "card" and "terms" in step.params)


def _target(plan: Plan) -> tuple[Callable[[Step], Target], bool]:
    """Where each repo goes, as the plan's publish steps have it; and whether that is the Hub."""
    page = plan.places.get(Place("publish", None, "family"), "")
    params = plan.steps[page].params if page else {}
    on_hub = bool(page) and plan.steps[page].method == "hub"
    visibility: Literal["public", "private", "folder"] = params["visibility"] if on_hub else "folder"
    # A public repo that anybody may fetch from keeps nobody out, whatever its card says.
    guarded = visibility != "public" or params["gated"] == "manual"

    def target(card: Step) -> Target:
        terms = card.params["terms"]
        excludes = tuple(terms["excludes"]) if guarded else ()
        return Target(visibility, (card.params["repo"],), terms["license"], terms["reason"], excludes)

    return target, on_hub


def _said(plan: Plan, card: Step, ask: Ask) -> dict[str, str | None]:
    """What the cards of base and datasets on the Hub say, by the key that ``judged`` knows them by."""
    found: dict[str, str | None] = {}
    if at := _on_hub(plan, card.inputs.get("base", ""), "model"):
        found["base"] = ask(at, "model")
    for teacher in card.params["terms"].get("teachers", ()):
        if teacher["at"]:
            found[teacher["role"]] = ask(teacher["at"], "model")
    for dataset in card.params["terms"]["datasets"]:
        rows = plan.places.get(Place("data", None, dataset["name"]), "")
        if at := _on_hub(plan, rows, "data"):
            found[dataset["key"]] = ask(at, "dataset")
    return found


def _on_hub(plan: Plan, key: str, role: str) -> str:
    """``hub:org/name@commit`` where that step's pin lies there, else ''."""
    pin = plan.steps[key].pins.get(role) if key in plan.steps else None
    return pin.at if pin and pin.at.startswith("hub:") else ""


def _believed(terms: Mapping[str, Any], said: Mapping[str, str | None]) -> dict[str, str]:
    """Where the Hub could not be asked, what the user states is taken for what the card says."""
    stated = {source["key"] or "base": source["stated"] for source in (terms["base"], *terms["datasets"])}
    stated |= {teacher["role"]: teacher["stated"] for teacher in terms.get("teachers", ())}
    return {key: stated[key] if says is None else says for key, says in said.items()}


def _lines(reasons: Iterable[tuple[Reason, ...]]) -> list[str]:
    """Each reason once, whichever repos it holds for; of a great many, the first ones."""
    every = list(dict.fromkeys(reason for found in reasons for reason in found))
    more = [f"and {len(every) - _MANY:,} reasons more"] if len(every) > _MANY else []
    return [*(f"{reason.text} -> {reason.fix}" for reason in every[:_MANY]), *more]


def license_on_hub(at: str, repo_type: RepoType) -> str | None:
    """What the card of a repo names at a commit: README.md alone is fetched, into the Hub client's own cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    name, _, commit = at.removeprefix("hub:").partition("@")
    try:
        return readme_license(Path(hf_hub_download(name, "README.md", revision=commit, repo_type=repo_type)).parent)
    except LocalEntryNotFoundError:
        return None
    except EntryNotFoundError:
        return ""  # it has no card
    except Exception:  # no route, gated, a proxy: the client raises many kinds; who fetches the weights tells which
        return None
