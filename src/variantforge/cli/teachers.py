"""How it reads what teachers will be asked: a block for people, a list for programs; and which keys are not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from variantforge.cli.output import Output

if TYPE_CHECKING:
    from variantforge.cli.opening import Opened, Recalled
    from variantforge.plan.build import Plan
    from variantforge.plan.explain import Decision
    from variantforge.stages.data.teacher.asking import Asking
    from variantforge.step import Step

_ASKING = ("data", "evaluate")  # stages whose steps may ask an endpoint: teachers, and judges


def askings_of(opened: Opened | Recalled, decisions: Mapping[str, Decision]) -> dict[str, Asking]:
    """What the teachers of steps that would run are asked; nothing is loaded where there is none."""
    steps = opened.plan.steps
    to_run = [key for key, decision in decisions.items() if decision.word == "run" and steps[key].stage == "data"]
    if not any(steps[key].method == "teacher" for key in to_run):
        return {}
    from variantforge.plan.asked import askings

    return askings(opened.plan, to_run, opened.store)


def write_askings(out: Output, plan: Plan, told: Mapping[str, Asking]) -> None:
    if not told:
        return
    out.line(("teachers", "bold"))
    out.table([(plan.label(key), one.who, "; ".join(filter(None, _words(one)))) for key, one in told.items()])


def _words(one: Asking) -> tuple[str, str]:
    return one.how_many, one.how_long if one.to_ask != 0 else ""


def askings_document(plan: Plan, told: Mapping[str, Asking]) -> list[dict[str, Any]]:
    """For programs: null where unknown; ``exact`` is false where there may be fewer."""
    return [
        {
            "key": key,
            "label": plan.label(key),
            "by": dict(one.by),
            "prompts": one.prompts,
            "samples": one.samples,
            "answers": one.answers,
            "kept": one.kept,
            "to_ask": one.to_ask,
            "exact": one.exact,
            "why": one.why,
            "requests_per_minute": one.requests_per_minute,
            "seconds_at_least": one.seconds,
            "told": list(filter(None, (one.who, *_words(one)))),
        }
        for key, one in told.items()
    ]


def missing_keys(opened: Opened | Recalled, decisions: Mapping[str, Decision]) -> Iterator[str]:
    """A sentence for each variable with an endpoint's key that a step to be run would look for in vain."""
    plan, found = opened.plan, dict[str, list[str]]()
    for key, decision in decisions.items():
        if decision.word == "run" and plan.steps[key].stage in _ASKING and (name := _missing_key(plan.steps[key])):
            found.setdefault(name, []).append(plan.label(key))
    for name, labels in found.items():
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        yield f"the environment variable {name} is not set, and {labels[0]}{more} will look there for a key"


def _missing_key(step: Step) -> str:
    if "api_key_env" not in step.hints:  # most commands import nothing for this
        return ""
    from variantforge.stages.data.teacher.planning import missing_key

    return missing_key(step)


def write_missing_keys(out: Output, told: Iterable[str]) -> None:
    for text in told:
        out.line(("warning:", "yellow"), text)


def warn_of_missing_keys(opened: Opened, selected: frozenset[str], out: Output) -> None:
    """Before an apply that would find out after hours of other steps."""
    from variantforge.plan.explain import explain

    steps = opened.plan.steps
    if any(_missing_key(steps[key]) for key in selected if steps[key].stage in _ASKING):
        for text in missing_keys(opened, explain(opened.plan, opened.store, selected=selected)):
            out.note(("warning:", "yellow"), text)
