"""The mix step of a variant, laid out: which rows go into it, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from variantforge.refs import Ref
from variantforge.spec.family import FamilySpec, VariantSpec
from variantforge.spec.words import no_such
from variantforge.stages.data.pool import AGAINST, BASE
from variantforge.stages.data.sources import READERS, readable
from variantforge.stages.evaluate.evaluation import Evaluation, evaluation
from variantforge.stages.evaluate.suites import HasSuite, HasSuiteFiles, HasTasks, HubItems, is_looked_for
from variantforge.stages.stage import Desk, Place
from variantforge.step import Pin, Step

ACROSS = ("deduplicate", "on_special_tokens")  # keys of the policy that are about rows of several sources


def plan_mix(desk: Desk, name: str, variant: VariantSpec, rows: Callable[[str], Step | None], version: int) -> None:
    """``rows``: the step of a dataset's rows, None after a problem was told."""
    inputs = {dataset: rows(dataset) for dataset in variant.data.sources}
    if why := _why_base(desk.family, variant):
        if BASE in inputs:
            desk.problem(f"datasets.{BASE}", f"where {why}, no dataset can be named 'base'")
        inputs[BASE] = desk.step(Place("base", name))
    found = suites(desk, variant, rows) if desk.family.data_policy.decontaminate else Found()
    if found is None:
        return
    inputs |= found.inputs
    keys = {role: step.key for role, step in inputs.items() if step}
    if len(keys) < len(inputs):
        return
    params = {"data": variant.data.identity(), **desk.once(_policy), **found.params}
    desk.add(Place("data", name, "mix"), Step("data", version, "mix", params, keys, found.pins))


def _why_base(family: FamilySpec, variant: VariantSpec) -> str:
    """Why the mix must wait for the base; '' when it need not, and is one for variants of different bases."""
    if variant.data.by == "tokens":
        return "shares count tokens"
    return "control tokens are looked for" if family.data_policy.on_special_tokens == "skip" else ""


def _policy(family: FamilySpec) -> dict[str, Any]:
    """What the policy says of rows of several sources; what it leaves at its default is not there."""
    policy = family.data_policy.identity()
    if policy.get("on_special_tokens") != "skip":  # otherwise training looks for them
        policy.pop("on_special_tokens", None)
    return {key: policy[key] for key in ACROSS if policy.get(key)}


# --- suites to keep the data clean of ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What a mix needs to know the suites: see ``Suites``."""

    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Step | None] = field(default_factory=dict)
    pins: Mapping[str, Pin] = field(default_factory=dict)


def suites(desk: Desk, variant: VariantSpec, rows: Callable[[str], Step | None]) -> Found | None:
    """The suites of the family's evaluations, and those that the policy names; None after a problem."""
    section = desk.family.data_policy.decontaminate
    assert section is not None  # asked for where there is one
    measured, inputs, pins, sound = desk.once(_measured), dict[str, Step | None](), dict[str, Pin](), True
    files, tasks = desk.once(_files, desk.folder), desk.once(_tasks, desk.folder)
    if not measured and not section.against and not files and not tasks:
        desk.problem(
            "data_policy.decontaminate",
            "nothing to look for: no evaluation here has a suite of its own; name files or datasets under 'against'",
        )
        return None
    for number, name in enumerate(section.against):
        key, role = f"data_policy.decontaminate.against[{number}]", f"{AGAINST}{name}"
        if name in variant.data.sources:
            desk.problem(key, f"{desk.at_key} trains on '{name}' itself: nothing of it would be left")
            sound = False
        elif name in desk.family.datasets:
            inputs[role] = rows(name)
        elif pin := _pinned(desk, name, key):
            pins[role] = pin
        else:
            sound = False
    for key, name in files:
        pin = _pinned(desk, name, key)
        pins |= {f"{AGAINST}{name}": pin} if pin else {}
        sound = sound and pin is not None
    for key, items in tasks:
        pin = desk.pin(items.ref, key=key, dataset=True)
        pins |= {f"{AGAINST}{items.ref.name}": pin} if pin else {}
        sound = sound and pin is not None
    of_tasks = {items.name: items.identity for _, items in tasks}
    params = {**section.identity(), "suites": measured, **({"tasks": list(of_tasks.values())} if of_tasks else {})}
    params.pop("against", None)  # inputs and pins say it
    return Found({"decontaminate": params}, inputs, pins) if sound else None


def _measured(family: FamilySpec) -> list[dict[str, Any]]:
    """Evaluations that have a suite, with what their texts depend on."""
    asked = {name: evaluation(spec) for name, spec in family.evaluate.items()}
    return [
        {"name": name, "evaluator": one.method, "params": one.params.identity()}
        for name, one in asked.items()
        if one and isinstance(one.evaluator, HasSuite)
    ]


def _files(family: FamilySpec, folder: Path) -> list[tuple[str, str]]:
    """Key path and name of the files whose items are evaluated; those that nobody can read are told there."""
    asked = {title: evaluation(spec, folder) for title, spec in family.evaluate.items()}
    return [
        (f"evaluate.{title}.{key}", name)
        for title, one in asked.items()
        if one
        for key, name in _files_of(one).items()
        if is_looked_for(name)
    ]


def _tasks(family: FamilySpec, folder: Path) -> list[tuple[str, HubItems]]:
    """Key path of each evaluation and what its tasks ask that lies on the Hub."""
    asked = {title: evaluation(spec, folder) for title, spec in family.evaluate.items()}
    return [
        (f"evaluate.{title}.tasks", items)
        for title, one in asked.items()
        if one and isinstance(one.evaluator, HasTasks)
        for items in one.evaluator.hub_items_in(one.params, folder)
    ]


def _files_of(asked: Evaluation) -> Mapping[str, str]:
    if isinstance(asked.evaluator, HasTasks):
        return asked.evaluator.suite_files_in(asked.params, asked.folder)
    return asked.evaluator.suite_files(asked.params) if isinstance(asked.evaluator, HasSuiteFiles) else {}


def _pinned(desk: Desk, name: str, key: str) -> Pin | None:
    try:
        ref = Ref.parse(name)
    except ValueError:
        desk.problem(key, no_such("dataset", name, list(desk.family.datasets)) + " A file is written ./file.jsonl.")
        return None
    if ref.kind not in ("path", "package"):
        desk.problem(key, f"declare {name} under 'datasets', and write its name here")
        return None
    if not readable(ref.name):
        desk.problem(key, f"{name} is none of {', '.join(READERS)}")
        return None
    return desk.pin(ref, key=key)
