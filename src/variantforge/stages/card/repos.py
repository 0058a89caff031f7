"""Which repos a family has, and what they and their weight files are called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from variantforge.spec.forms import FORMS

if TYPE_CHECKING:
    from variantforge.spec.family import FamilySpec, Form, VariantSpec

# Names in the folder published into that are not repos (compared without case: some file systems ignore it).
PAGE, PAGE_MANIFEST = "README.md", "family.json"

# What the Hub accepts as the name of a repo.
_NAME = re.compile(r"(?!.*(--|\.\.))(?!.*\.(git|ipynb)$)[A-Za-z0-9_]([\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)


class Repo(NamedTuple):
    """One repo to be: the weights of ``variant`` in ``form``, published as ``namespace/name``.

    One repo per form of the weights: the Hub's loaders and download counters read one form per repo.
    """

    variant: str
    form: Form
    namespace: str
    name: str

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"


def forms_of(family: FamilySpec, variant: VariantSpec) -> list[Form]:
    """The forms that are both asked for under ``publish.artifacts`` and made of this variant."""
    made = _made_of(variant)
    return [form for form in FORMS if form in family.publish.artifacts and form in made]


def _made_of(variant: VariantSpec) -> set[str]:
    adapter = {"adapter"} if variant.train.adapter.type != "full" else set()
    return {"merged", *adapter, *(format.partition(":")[0] for format in variant.quantize)}


def unmade_forms(family: FamilySpec) -> Iterator[tuple[int, str]]:
    """Places in ``publish.artifacts`` whose form is made of no variant, each with what would make it."""
    if "artifacts" not in family.publish.model_fields_set:
        return
    made = set[str]().union(*map(_made_of, family.variants.values()))
    for number, form in enumerate(family.publish.artifacts):
        if form in made:
            continue
        if form == "adapter":
            yield number, "every variant trains all of its weights, so there is no adapter: remove it"
        else:
            format = "gguf:Q4_K_M" if form == "gguf" else form
            yield number, f"no variant makes {form}: add {format} to 'quantize', or remove it here"


def repo(family: FamilySpec, variant: str, form: Form) -> Repo:
    name = family.publish.repo.format(family=family.family, variant=variant)
    suffix = FORMS[form].suffix
    if form == "adapter" and not family.variants[variant].train.adapter.is_lora:
        suffix = "-adapter"
    return Repo(variant, form, family.publish.namespace, name + suffix)


def repos_of(family: FamilySpec) -> list[Repo]:
    """All repos of the family, in the order of the file."""
    return [repo(family, name, form) for name, variant in family.variants.items() for form in forms_of(family, variant)]


def index_of(family: FamilySpec) -> str:
    """The repo on the Hub that holds the family page and the record of releases."""
    return f"{family.publish.namespace}/{family.publish.index.format(family=family.family)}"


def formats_of(variant: VariantSpec, form: Form) -> list[str]:
    """The quantized formats that one repo holds: all types of its method; none of full weights and adapters."""
    return [format for format in variant.quantize if format.partition(":")[0] == form]


def gguf_file(family: FamilySpec, variant: str, format: str) -> str:
    """``<Repo>-Q4_K_M.gguf``: the Hub, llama.cpp and Ollama read the type from the end of the name."""
    return f"{repo(family, variant, 'merged').name}-{format.removeprefix('gguf:')}.gguf"


def lora_files(family: FamilySpec, variant: str) -> dict[str, str]:
    """The adapter as GGUF, one file for each ``gguf_lora`` format: format -> name; they lie in the adapter's repo."""
    name = repo(family, variant, "adapter").name
    formats = [format for format in family.variants[variant].quantize if format.startswith("gguf_lora:")]
    return {format: f"{name}-{format.removeprefix('gguf_lora:')}.gguf" for format in formats}


def naming_problems(family: FamilySpec) -> Iterator[str]:
    """What is wrong with the names: not a repo name, or one name for two different things."""
    taken = {PAGE.lower(): "the family page", PAGE_MANIFEST.lower(): "the family's manifest"}
    taken["evaluations"] = "the folder of what was measured"
    if family.publish.to == "hub":
        index = index_of(family).rpartition("/")[2]
        taken = {index.lower(): "the family's index repo (publish.index)"}
        if not _NAME.fullmatch(index):
            yield f"{index!r}, the family's index repo (publish.index), is no repo name"
    forms: dict[str, Form] = {}
    for each in repos_of(family):
        what, name = f"the {each.form} repo of '{each.variant}'", each.name.lower()
        if not _NAME.fullmatch(each.name):
            yield (
                f"{each.name!r}, {what}, is no repo name: at most 96 letters, digits, '.', '_' and '-', "
                "no '--' or '..', neither '.' nor '-' at its ends"
            )
        # Two variants with one name for the *same* form are told of where publish.repo is checked.
        if name in taken and forms.get(name) != each.form:
            yield f"{each.name!r} would be {taken[name]} and {what}: choose a name under which they differ"
        taken.setdefault(name, what)
        forms.setdefault(name, each.form)
