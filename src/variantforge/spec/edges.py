"""Which parts of a family are made of which others: ``from``, ``train.teacher``, data, and who writes it.

A graph of nodes such as ``("variants", "law")``; circles in it, and the order that it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from variantforge.spec.yaml_events import KeyPath

Node = tuple[str, str]
DISTILL = "distill"  # the training method that reads train.teacher


class Edge(NamedTuple):
    """``path``: the key that says it. ``to``: what is needed."""

    path: KeyPath
    to: Node


Graph = Mapping[Node, Sequence[Edge]]


def graph_of(family: Mapping[str, Any]) -> Graph:
    """The edges of a family file's plain values. What is of another form, or names nothing, is passed over."""
    variants, datasets = (_mapping(family.get(section)) for section in ("variants", "datasets"))
    defaults = _mapping(family.get("defaults"))
    graph: dict[Node, list[Edge]] = {("variants", name): [] for name in variants}
    graph |= {("datasets", name): [] for name in datasets}
    for node, edges in graph.items():
        section, name = node
        told = _of_variant(_mapping(variants[name]), defaults) if section == "variants" else _of_data(datasets[name])
        for path, kind, other in told:
            if isinstance(other, str) and (kind, other) in graph:
                edges.append(Edge((section, name, *path), (kind, other)))
    return graph


def _of_variant(variant: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, Any]]:
    yield ("from",), "variants", variant.get("from")
    train = {**_mapping(defaults.get("train")), **_mapping(variant.get("train"))}
    if train.get("method") == DISTILL:
        yield ("train", "teacher"), "variants", train.get("teacher")
    for word in ("mix", "epochs"):
        amounts = _mapping(_mapping(variant.get("data")).get(word))
        yield from ((("data", word, name), "datasets", name) for name, amount in amounts.items() if amount != 0)
    if "calibration" not in variant or variant["calibration"]:
        calibration = {**_mapping(defaults.get("calibration")), **_mapping(variant.get("calibration"))}
        for name in _mapping(calibration.get("datasets")):
            yield ("calibration", "datasets", name), "datasets", name


def _of_data(dataset: Any) -> Iterator[tuple[KeyPath, str, Any]]:
    yield ("prompts",), "datasets", _mapping(dataset).get("prompts")
    yield ("teacher", "variant"), "variants", _mapping(_mapping(dataset).get("teacher")).get("variant")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def circles(graph: Graph) -> list[list[Edge]]:
    """Circles as their edges, each ending where it began: no two of them close with the same edge."""
    found: list[list[Edge]] = []
    done: set[Node] = set()
    for start in graph:
        line: list[Edge] = []  # the way to the node at hand
        here = {start: 0}  # the nodes on it, each with its place
        waiting = [iter(() if start in done else graph[start])]
        while waiting:
            edge = next(waiting[-1], None)
            if edge is None:
                waiting.pop()
                done.add(here.popitem()[0])
                del line[-1:]
            elif edge.to in here:
                found.append([*line[here[edge.to] :], edge])
            elif edge.to not in done:
                line.append(edge)
                here[edge.to] = len(here)
                waiting.append(iter(graph.get(edge.to, ())))
    return found


def ordered(graph: Graph, starts: Iterable[Node]) -> list[Node]:
    """All that ``starts`` need, each node after those that it needs itself; for a graph without circles."""
    order: dict[Node, None] = {}
    for start in starts:
        waiting = [start]
        while waiting:
            node = waiting[-1]
            before = next((edge.to for edge in graph.get(node, ()) if edge.to not in order), None)
            if before is not None and node not in order:
                waiting.append(before)
            else:
                order[waiting.pop()] = None
    return list(order)


def circle_sentence(circle: Sequence[Edge]) -> str:
    """``'from' goes in a circle: a -> b -> a``, or with edges of several kinds ``a circle: a -> dataset d -> a``."""
    nodes = [circle[-1].to, *(edge.to for edge in circle)]
    names = [name if kind == "variants" else f"dataset {name}" for kind, name in nodes]
    shown = " -> ".join(names if len(names) <= 9 else [*names[:4], "...", *names[-4:]])
    only_from = all(edge.path[2] == "from" for edge in circle)
    return f"'from' goes in a circle: {shown}" if only_from else f"each is made of the next, in a circle: {shown}"
