"""Where everything comes from: base -> variants -> formats, with ``from:`` and teachers. Read off the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from variantforge.report.cells import files_of
from variantforge.report.document import Cell, Edge, Lineage, Node
from variantforge.report.shelf import Shelf
from variantforge.spec.edges import DISTILL
from variantforge.spec.family import FamilySpec, TeacherDataset
from variantforge.stages.base.stage import base_of

HERE, MISSING = "here", "missing"


def lineage(shelf: Shelf, family: FamilySpec, cells: Mapping[tuple[str, str], Cell]) -> Lineage:
    """Nodes in the order of the family file, and the edges between them."""
    nodes: dict[str, Node] = {}
    edges: dict[Edge, None] = {}
    for name, variant in family.variants.items():
        parent = variant.from_
        if parent:
            edges[Edge(f"variant:{parent}", f"variant:{name}", "from")] = None
        else:
            base = _base(shelf, family, name)
            nodes.setdefault(base.id, base)
            edges[Edge(base.id, f"variant:{name}", "trained")] = None
        here = HERE if shelf.artifact("merge", name) else MISSING
        note = f"{variant.kind}, {variant.train.method} {variant.train.adapter.type}"
        nodes[f"variant:{name}"] = Node(f"variant:{name}", "variant", name, note, here)
        for teacher, kind in _teachers(family, name):
            if teacher.kind == "teacher":
                nodes.setdefault(teacher.id, teacher)
            edges[Edge(teacher.id, f"variant:{name}", kind)] = None
        for subject in files_of(variant)[1:]:
            cell = cells[name, subject]
            node = Node(f"format:{name}:{subject}", "format", subject, "", cell.state)
            nodes[node.id] = node
            edges[Edge(f"variant:{name}", node.id, "made")] = None
    return Lineage(list(nodes.values()), list(edges))


def base_name(shelf: Shelf, family: FamilySpec, variant: str) -> str:
    """What people call the base of a variant: as the family file names it, else as its artifact does."""
    model, _, key = base_of(family, variant, family.variants[variant])
    if key == "base.model" and family.base.name:
        return family.base.name
    artifact = shelf.artifact("base", variant)
    named = (shelf.facts(artifact) or {}).get("name") if artifact else ""
    return str(named or model.rstrip("/").rpartition("/")[2])


def _base(shelf: Shelf, family: FamilySpec, variant: str) -> Node:
    model, _, _ = base_of(family, variant, family.variants[variant])
    artifact = shelf.artifact("base", variant)
    facts = (shelf.facts(artifact) if artifact else None) or {}
    parameters = facts.get("parameters")
    note = f"{parameters / 1e6:,.0f} M parameters" if parameters else ""
    return Node(f"base:{model}", "base", base_name(shelf, family, variant), note, HERE if artifact else MISSING)


def _teachers(family: FamilySpec, name: str) -> Iterator[tuple[Node, str]]:
    """Whose logits a variant learned from (teaches), and who wrote rows that it learned from (writes)."""
    variant = family.variants[name]
    if variant.train.method == DISTILL and variant.train.teacher:
        yield _teacher(family, variant.train.teacher), "teaches"
    for dataset in variant.data.sources:
        section = family.datasets.get(dataset)
        if isinstance(section, TeacherDataset):
            teacher = section.teacher
            yield _teacher(family, str(teacher.variant or teacher.model)), "writes"


def _teacher(family: FamilySpec, name: str) -> Node:
    if name in family.variants:
        return Node(f"variant:{name}", "variant", name, "", HERE)
    return Node(f"teacher:{name}", "teacher", name, "teacher", HERE)
