"""What one part of a family file says of another: names that must exist, circles, weights, clashing repos.

These checks read the plain values, not the models: so they also run when other places of the file are wrong, and
every problem is told at once. What is not of the right shape is passed over; the models have told it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from variantforge.registry import near
from variantforge.spec import parity
from variantforge.spec.adapter_types import adapter_problems
from variantforge.spec.edges import DISTILL, circle_sentence, circles, graph_of
from variantforge.spec.places import Places
from variantforge.spec.trainer_args import argument_problems
from variantforge.spec.words import describe, listed, no_such
from variantforge.spec.yaml_events import Complaint, KeyPath

RESERVED = {"base": "the model that all start from", "merged": "the weights a quantized file is compared with"}
Finding = tuple[KeyPath, str]


def cross_complaints(places: Places) -> list[Complaint]:
    """All complaints that need more than one key to be seen. Raises UsageError when TRL's sources are not there."""
    family = _mapping(places.root.value)
    found: list[Finding] = []
    for check in (
        _parents,
        _teachers,
        _writers,
        _circles,
        _mixes,
        _calibrations,
        _names,
        _formats,
        _parity,
        _gates,
        _repos,
        _train_args,
        _adapters,
    ):
        found += check(family)
    return [Complaint(places.mark(path), path, text) for path, text in found if not places.unread(path)]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _variants(family: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: _mapping(variant) for name, variant in _mapping(family.get("variants")).items()}


def _parents(family: Mapping[str, Any]) -> Iterator[Finding]:
    variants = _variants(family)
    for name, variant in variants.items():
        parent, path = variant.get("from"), ("variants", name, "from")
        if not isinstance(parent, str):
            continue
        if variant.get("base") is not None:
            yield path, "'base' and 'from' are both set; a variant starts from one of them: remove the other"
        if parent == name:
            yield path, "a variant cannot start from itself"
        elif parent not in variants:
            yield path, no_such("variant", parent, [other for other in variants if other != name])


def _teachers(family: Mapping[str, Any]) -> Iterator[Finding]:
    """Teachers that are no variant and no model, and those that nobody learns from."""
    default, variants = _mapping(_mapping(family.get("defaults")).get("train")), _variants(family)
    trains = {name: _mapping(one.get("train")) for name, one in variants.items()}
    learning = [name for name, train in trains.items() if train.get("method", default.get("method")) == DISTILL]
    places: list[tuple[KeyPath, Mapping[str, Any], bool]] = [(("defaults", "train"), default, bool(learning))]
    places += [(("variants", name, "train"), train, name in learning) for name, train in trains.items()]
    for path, train, read in places:
        if not read:
            written = [key for key in ("teacher", "answers") if train.get(key) is not None]
            yield from (((*path, key), f"read by train.method: {DISTILL} alone: remove it") for key in written)
        teacher = train.get("teacher")
        if isinstance(teacher, str) and not any(mark in teacher for mark in "/:~.") and teacher not in variants:
            yield (*path, "teacher"), no_such("variant", teacher, list(variants))


def _writers(family: Mapping[str, Any]) -> Iterator[Finding]:
    """Teachers that write data: what they are asked, and who they are."""
    datasets, variants = _mapping(family.get("datasets")), list(_variants(family))
    for name, dataset in datasets.items():
        told = _mapping(dataset)
        if told.get("source") != "teacher":
            continue
        prompts, variant = told.get("prompts"), _mapping(told.get("teacher")).get("variant")
        if isinstance(prompts, str) and prompts not in datasets:
            yield ("datasets", name, "prompts"), no_such("dataset", prompts, [one for one in datasets if one != name])
        if isinstance(variant, str) and variant not in variants:
            yield ("datasets", name, "teacher", "variant"), no_such("variant", variant, variants)


def _circles(family: Mapping[str, Any]) -> Iterator[Finding]:
    for circle in circles(graph_of(family)):
        first, *others = circle
        if others:
            yield first.path, circle_sentence(circle)
        elif first.path[-1] == "teacher":
            why = "a variant cannot be its own teacher: give it another method, or another teacher"
            yield first.path, why  # one that starts from itself is told above
        elif first.path[-1] == "prompts":
            yield first.path, "a teacher cannot be asked its own answers: name the dataset that holds the prompts"


_AMOUNTS = {"mix": ("its weight", "weights"), "epochs": ("how often it is read", "epochs")}


def _mixes(family: Mapping[str, Any]) -> Iterator[Finding]:
    datasets = list(_mapping(family.get("datasets")))
    for name, variant in _variants(family).items():
        for word, (one, many) in _AMOUNTS.items():
            amounts, path = _mapping(variant.get("data")).get(word), ("variants", name, "data", word)
            if not isinstance(amounts, dict):
                continue
            for dataset, amount in amounts.items():
                if dataset not in datasets:
                    yield (*path, dataset), no_such("dataset", dataset, datasets)
                if word == "mix" and _is_number(amount) and amount < 0:
                    yield (*path, dataset), f"{describe(amount)} is no weight: at least 0 is wanted"
            if not amounts:
                yield path, f"empty: name at least one dataset and {one}"
            elif all(_is_number(amount) and amount == 0 for amount in amounts.values()):
                yield path, f"all {many} are 0: nothing would be trained on"


def _calibrations(family: Mapping[str, Any]) -> Iterator[Finding]:
    datasets = list(_mapping(family.get("datasets")))
    places: list[tuple[KeyPath, Any]] = [(("defaults",), family.get("defaults"))]
    places += [(("variants", name), variant) for name, variant in _variants(family).items()]
    for path, section in places:
        for dataset in _mapping(_mapping(_mapping(section).get("calibration")).get("datasets")):
            if dataset not in datasets:
                yield (*path, "calibration", "datasets", dataset), no_such("dataset", dataset, datasets)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(family: Mapping[str, Any]) -> Iterator[Finding]:
    for name in _variants(family):
        if name in RESERVED:
            yield ("variants", name), f"'{name}' is taken: in gates and tables it means {RESERVED[name]}"


def _formats(family: Mapping[str, Any]) -> Iterator[Finding]:
    lists: list[tuple[KeyPath, Any]] = [
        (("defaults", "quantize"), _mapping(family.get("defaults")).get("quantize")),
        (("publish", "artifacts"), _mapping(family.get("publish")).get("artifacts")),
        *((("variants", name, "quantize"), variant.get("quantize")) for name, variant in _variants(family).items()),
    ]
    for path, formats in lists:
        seen: set[str] = set()
        for index, format in enumerate(formats if isinstance(formats, list) else []):
            if str(format).casefold() in seen:
                yield (*path, index), f"'{format}' stands twice"
            seen.add(str(format).casefold())


def _parity(family: Mapping[str, Any]) -> Iterator[Finding]:
    yield from parity.complaints(_mapping(family.get("evaluate")))


def _gates(family: Mapping[str, Any]) -> Iterator[Finding]:
    written = _mapping(family.get("evaluate"))
    evaluations = [name for name, one in written.items() if one != parity.OFF]
    evaluations += [parity.PARITY] if parity.is_implied(written) else []
    gates = family.get("gates")
    for index, gate in enumerate(gates if isinstance(gates, list) else []):
        metric = _mapping(gate).get("metric")
        if not isinstance(metric, str):
            continue
        name, dot, rest = metric.partition(".")
        path = ("gates", index, "metric")
        if not dot or not rest:
            yield path, f"'{metric}' is no metric: write <name under evaluate>.<metric>, for example heldout.loss"
        elif not any(metric.startswith(f"{evaluation}.") for evaluation in evaluations):
            hint = near(name, evaluations) or (f" It names {listed(evaluations)}." if evaluations else " It is empty.")
            why = "it is off." if name in written else f"it is not under 'evaluate'.{hint}"
            yield path, f"nobody measures '{name}': {why}"


def _repos(family: Mapping[str, Any]) -> Iterator[Finding]:
    template = _mapping(family.get("publish")).get("repo")
    variants = list(_variants(family))
    if isinstance(template, str) and "{variant" not in template and len(variants) > 1:
        two = f"'{variants[0]}' and '{variants[1]}'"
        yield ("publish", "repo"), f"{two} would be published as one repo, '{template}': put {{variant}} into it"


def _train_args(family: Mapping[str, Any]) -> Iterator[Finding]:
    defaults = _mapping(_mapping(family.get("defaults")).get("train"))
    places: list[tuple[KeyPath, Mapping[str, Any]]] = [(("defaults", "train"), defaults)]
    places += [(("variants", name, "train"), _mapping(one.get("train"))) for name, one in _variants(family).items()]
    for path, train in places:
        method = train.get("method", defaults.get("method", "sft"))
        for name, text in argument_problems(method, _mapping(train.get("args"))):
            yield (*path, "args", name), text


def _adapters(family: Mapping[str, Any]) -> Iterator[Finding]:
    defaults = _mapping(_mapping(_mapping(family.get("defaults")).get("train")).get("adapter"))
    places: list[tuple[KeyPath, Mapping[str, Any]]] = [(("defaults", "train", "adapter"), defaults)]
    for name, variant in _variants(family).items():
        own = _mapping(_mapping(variant.get("train")).get("adapter"))
        places.append((("variants", name, "train", "adapter"), own))
    for path, own in places:
        for keys, text in adapter_problems(own, defaults):
            yield (*path, *keys), text
