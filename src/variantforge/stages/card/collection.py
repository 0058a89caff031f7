"""The collection that shows a family on the Hub: its title, its description, and the repos in their order."""

from __future__ import annotations

from collections.abc import Collection as Some
from typing import NamedTuple

from variantforge.spec.family import FamilySpec, Form
from variantforge.spec.forms import FORMS
from variantforge.stages.card.markdown import one_line
from variantforge.stages.card.params import title_of
from variantforge.stages.card.repos import index_of, repos_of

# What the Hub accepts, in characters as JavaScript counts them.
MAX_DESCRIPTION = 150
MAX_NOTE = 500


class Item(NamedTuple):
    repo: str
    note: str


class Collection(NamedTuple):
    title: str
    description: str
    items: tuple[Item, ...]


def collection_of(family: FamilySpec, shipped: Some[str]) -> Collection:
    """The family page first, then the repos that are in ``shipped``: by variant as the file has them, and of each the
    full weights, the adapter, then quantized ones. No version is named: the collection is no part of a release."""
    items = [Item(index_of(family), "The family: what each repo is, what was measured, and release.json to follow.")]
    items += [Item(repo.id, _note(family, repo.variant, repo.form)) for repo in repos_of(family) if repo.id in shipped]
    description = one_line(family.description) or f"{family.family}: variants of one model, released together"
    return Collection(title_of(family), cut(description, MAX_DESCRIPTION), tuple(items))


def _note(family: FamilySpec, variant: str, form: Form) -> str:
    """``code: Writes functions. Full weights (transformers).``"""
    title = FORMS[form].title
    what = f"{title[0].upper()}{title[1:]}."
    told = one_line(family.variants[variant].description)
    told = told if not told or told.endswith((".", "!", "?")) else f"{told}."
    told = cut(told, MAX_NOTE - _length(f"{variant}:  {what}"))
    return " ".join(filter(None, (f"{variant}:", told, what)))


def cut(text: str, most: int) -> str:
    """The text, or its first whole words and an ellipsis. Never half a character."""
    if _length(text) <= most:
        return text
    kept = text[:most]
    while _length(f"{kept}…") > most:
        shorter = kept.rpartition(" ")[0].rstrip()
        kept = shorter if shorter else kept[:-1]
    return f"{kept}…"


def _length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
