"""What a card says that only the spec knows. It enters the card's key: a card is new when its words are."""

from __future__ import annotations

from typing import Any

from variantforge.refs import Ref
from variantforge.spec.family import DatasetSpec, FamilySpec, PythonSourceDataset, TeacherDataset
from variantforge.spec.forms import FORMS
from variantforge.stages.base.stage import FAMILY_BASE, KnownBase, known_base, license_of, name_of
from variantforge.stages.card.adapter import train_params
from variantforge.stages.card.markdown import one_line
from variantforge.stages.card.repos import Repo, formats_of, forms_of, gguf_file, index_of, lora_files, repo
from variantforge.stages.card.teachers import called, teacher_of_logits
from variantforge.stages.card.terms import terms_params
from variantforge.stages.stage import Desk

LOCAL = "local"  # the namespace of a family that names none: its repos have no address but their folders


def card_params(desk: Desk, this: Repo, shared: dict[str, Any]) -> dict[str, Any]:
    """All words of one repo's card; ``shared`` from ``variant_params``. No path of this machine is among them."""
    formats = formats_of(desk.family.variants[this.variant], this.form)
    files = {
        format: gguf_file(desk.family, this.variant, format) for format in formats if FORMS[this.form].holds == "files"
    }
    lora = list(lora_files(desk.family, this.variant).values()) if this.form == "adapter" else []
    return {**shared, "repo": this.id, "files": files, **({"lora_files": lora} if lora else {})}


def variant_params(desk: Desk, name: str) -> dict[str, Any]:
    """The words that all cards of a variant have in common."""
    family, variant = desk.family, desk.family.variants[name]
    publish = family.publish
    return {
        "family": {"name": family.family, "title": title_of(family)},
        "variant": {"name": name, "kind": variant.kind, "description": one_line(variant.description)},
        "on_hub": publish.namespace != LOCAL,
        "repos": {form: repo(family, name, form).id for form in forms_of(family, variant)},
        "language": publish.language,
        "tags": publish.tags,
        "base": base_params(desk, name),
        "terms": terms_params(desk, name),
        "parent": _parent(family, name),
        "data": {"by": "epochs" if variant.data.epochs else variant.data.by, "sources": _sources(family, name)},
        "train": train_params(variant.train),
        **({"teacher": teacher} if (teacher := _teacher(family, name)) else {}),
        "evaluations": {name: evaluation.evaluator for name, evaluation in family.evaluate.items()},
    }


def family_params(desk: Desk) -> dict[str, Any]:
    """All words of the family page, beside those that the cards hand on. ``index``: its repo, where it has one."""
    family = desk.family
    return {
        "family": {"name": family.family, "version": family.version, "title": title_of(family)},
        "description": one_line(family.description),
        "language": family.publish.language,
        "tags": family.publish.tags,
        "index": index_of(family) if family.publish.to == "hub" and family.publish.namespace != LOCAL else "",
        "order": list(family.variants),
        "variants": {
            name: {
                "kind": variant.kind,
                "description": one_line(variant.description),
                "base": base_params(desk, name),
                "parent": variant.from_,
                "repos": {form: repo(family, name, form).id for form in forms_of(family, variant)},
            }
            for name, variant in family.variants.items()
        },
    }


def title_of(family: FamilySpec) -> str:
    return one_line(family.publish.collection or "") or family.family


def base_params(desk: Desk, name: str) -> dict[str, Any]:
    return desk.once(_base_params, known_base(desk, name))


def _base_params(family: FamilySpec, base: KnownBase) -> dict[str, Any]:
    """What people know the base by, and where they find it: ``hub`` (with its commit) or ``package`` and ``file``;
    neither for a local file or folder, whose place is nobody's business. ``id``: its id on the Hub, where that is
    certain: the file names it. What a model file calls itself may only look like one."""
    ref = Ref.parse(base.model)
    told: dict[str, Any] = {
        "name": _without_folders(name_of(family, base)),
        "id": ref.name if ref.kind == "hub" else (family.base.name or "") if base.key == FAMILY_BASE else "",
        "license": license_of(family, base),
        "inherited": family.base.license == "inherit",
    }
    if ref.kind == "package":
        told["package"], _, told["file"] = ref.name.partition("/")
    if ref.kind == "hub":
        at = base.pin.at if base.pin else ""
        commit = at.partition("@")[2] if at.startswith("hub:") else ""
        told |= {"hub": ref.name, "revision": commit or ref.revision or base.revision or ""}
    return told


def _without_folders(name: str) -> str:
    """A model folder may give the path it once lay at as its name."""
    local = name.startswith(("/", ".", "~")) or "\\" in name
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2] if local else name


def _parent(family: FamilySpec, name: str) -> dict[str, str]:
    """The variant whose merged weights this one starts from, and its repo when that is published."""
    parent = family.variants[name].from_
    if not parent or parent not in family.variants:
        return {}
    published = "merged" in forms_of(family, family.variants[parent])
    return {"name": parent, "repo": repo(family, parent, "merged").id if published else ""}


def _teacher(family: FamilySpec, name: str) -> str:
    """Whose logits the variant learned from, '' for none."""
    teacher = teacher_of_logits(family, name)
    return called(teacher) if teacher else ""


def _sources(family: FamilySpec, name: str) -> dict[str, dict[str, Any]]:
    sources = family.variants[name].data.sources
    return {dataset: _source(family.datasets[dataset]) for dataset in sources if dataset in family.datasets}


def _source(dataset: DatasetSpec) -> dict[str, Any]:
    told: dict[str, Any] = {"license": dataset.license or "", "description": one_line(dataset.description)}
    if isinstance(dataset, PythonSourceDataset):
        return told | {"task": dataset.task, "packages": dataset.packages}
    if isinstance(dataset, TeacherDataset):
        return told | {"teacher": called(dataset.teacher), "prompts": dataset.prompts}
    ref = Ref.parse(dataset.path)
    return told | ({"hub": ref.name} if ref.kind == "hub" else {})
