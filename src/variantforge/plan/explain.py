"""Plan + what is in the store -> for every step Reuse, Run or Blocked, each with its reason. Pure: reads, decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from variantforge.plan.plan import Plan
from variantforge.stages import PIPELINE, SHOWN_OUTSIDE, Place, stage
from variantforge.step import Artifact, Step


@dataclass(frozen=True)
class Reuse:
    reason: str = "nothing changed"
    word = "reuse"


@dataclass(frozen=True)
class Run:
    reason: str
    word = "run"


@dataclass(frozen=True)
class Blocked:
    reason: str
    word = "blocked"


Decision = Reuse | Run | Blocked
_MOST_FOLLOWED = 4  # inputs named in a reason
_REUSE = Reuse()
_SPARED = Reuse("not here, and nothing needs it: what was made of it is here")


class Shelf(Protocol):
    """What explaining needs of a store. ``has`` is ``find`` for those who only want to know."""

    def keys(self, stage: str) -> set[str]: ...

    def has(self, step: Step) -> bool: ...

    def find(self, step: Step) -> Artifact | None: ...


class Remembered(Protocol):
    """What the last apply used at a place."""

    @property
    def key(self) -> str: ...

    @property
    def identity(self) -> dict[str, Any]: ...


def explain(
    plan: Plan,
    store: Shelf,
    used: Mapping[Place, Remembered] | None = None,
    selected: frozenset[str] | None = None,
) -> dict[str, Decision]:
    """Key -> decision, in the plan's order, for the steps selected (all by default).

    What only feeds finished steps is not made again: a store that was filled from the Hub holds the published repos,
    not the training they came of.
    """
    shelves = {name: store.keys(name) for name in {step.stage for step in plan.steps.values()}}
    decisions: dict[str, Decision] = {}
    for key, step in plan.steps.items():
        if selected is None or key in selected:
            if key not in shelves[step.stage] or not store.has(step):
                decisions[key] = _decide(plan, step, decisions, store, used or {})
            else:
                decisions[key] = _kept(step, store) if step.stage in SHOWN_OUTSIDE else _REUSE
    _spare(plan, decisions)
    return decisions


def _spare(plan: Plan, decisions: dict[str, Decision]) -> None:
    """Turns Run into Reuse where all that needs the step is there already; last steps first.

    A gate that nothing needs (a release's verdicts looked at together) asks for no step to be made again: it is spared
    itself where one of its inputs is.
    """
    if not {Run, Reuse} <= set(map(type, decisions.values())):
        return
    needed_by: dict[str, list[Decision]] = {}
    onlookers: list[str] = []
    for key in reversed(decisions):
        needing = needed_by.get(key)
        if isinstance(decisions[key], Run) and needing and all(isinstance(it, Reuse) for it in needing):
            decisions[key] = _SPARED
        if needing is None and plan.steps[key].stage == "gate":
            onlookers.append(key)
            continue
        for input in plan.steps[key].inputs.values():
            needed_by.setdefault(input, []).append(decisions[key])
    for key in onlookers:
        if any(decisions.get(input) is _SPARED for input in plan.steps[key].inputs.values()):
            decisions[key] = _SPARED


def _kept(step: Step, store: Shelf) -> Decision:
    artifact = store.find(step)
    stale = stage(step.stage).stale(step, artifact) if artifact else ""
    return Run(stale) if stale else _REUSE


def _decide(
    plan: Plan,
    step: Step,
    before: Mapping[str, Decision],
    store: Shelf,
    used: Mapping[Place, Remembered],
) -> Decision:
    takes_refused = stage(step.stage).takes_refused
    for key in step.inputs.values():
        decision = before.get(key)
        if isinstance(decision, Blocked):
            return Blocked(f"needs {plan.label(key)}, which is blocked")
        if isinstance(decision, Reuse) and not takes_refused and (refusal := _refusal(plan.steps[key], store)):
            return Blocked(f"{plan.label(key)}: {refusal}")
    return Run(_why_new(plan, step, used) if used else "new")


def _refusal(step: Step, store: Shelf) -> str:
    artifact = store.find(step) if step.stage in ("gate", "card") else None
    return artifact.refusal if artifact else ""


def _why_new(plan: Plan, step: Step, used: Mapping[Place, Remembered]) -> str:
    for place in plan.places_of[step.key]:
        if place in used:
            old = used[place]
            return "its artifact is gone" if old.key == step.key else "; ".join(_changes(plan, place, old, step))
    return "new"


def _changes(plan: Plan, place: Place, old: Remembered, step: Step) -> list[str]:
    """The fields in which the step differs from the one used last, roots named before what merely follows."""
    new = step.identity
    told = [
        text for part in ("method", "params", "version") for text in differences(old.identity[part], new[part], part)
    ]
    for role in sorted({*old.identity["pins"], *new["pins"]}):
        if old.identity["pins"].get(role) != new["pins"].get(role):
            told.append(f"{role} has other content")
    follows = {role: plan.steps[key] for role, key in new["inputs"].items() if old.identity["inputs"].get(role) != key}
    gone = [role for role in old.identity["inputs"] if role not in new["inputs"]]
    if follows:
        told.append(f"follows {_followed(follows)}")
    told += [f"no longer needs {role}" for role in gone]
    return told or ["its parameters changed"]


def _followed(steps: Mapping[str, Step]) -> str:
    """The first of them, those that others follow themselves named first."""
    names = [_name(role, steps[role]) for role in sorted(steps, key=lambda role: PIPELINE.index(steps[role].stage))]
    more = len(names) - _MOST_FOLLOWED
    return ", ".join(names[:_MOST_FOLLOWED]) + (f" and {more} more" if more > 0 else "")


def _name(role: str, step: Step) -> str:
    return role if step.stage in role or role == step.stage else f"{role} ({step.stage})"


def differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """``path: old -> new`` for every leaf that differs; the leading ``params.`` is not shown."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            yield from differences(old.get(name), new.get(name), f"{path}.{name}")
    elif _of_sections(old) and _of_sections(new) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{path}[{number}]")
    elif _of_sections(old) and _of_sections(new):
        yield f"{path.removeprefix('params.')}: {len(old)} → {len(new)} entries"
    elif old != new:
        yield f"{path.removeprefix('params.')}: {_short(old)} → {_short(new)}"


def _of_sections(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _short(value: Any) -> str:
    text = "default" if value is None else str(value) or "nothing"
    return text if len(text) <= 40 else text[:37] + "…"
