"""What the gates can see at their sample size: for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from variantforge.cli.output import Cell, Output
from variantforge.cli.words import counted

if TYPE_CHECKING:
    from variantforge.cli.opening import Opened, Recalled
    from variantforge.plan.explain import Decision
    from variantforge.plan.power import Outlook
    from variantforge.stages import Place
    from variantforge.store.journal import Used


def outlooks_of(
    opened: Opened | Recalled, decisions: Mapping[str, Decision], used: Mapping[Place, Used]
) -> list[Outlook]:
    """Of the gates that would judge anew."""
    steps = opened.plan.steps
    keys = [key for key, one in decisions.items() if one.word == "run" and steps[key].stage == "gate"]
    if not keys:
        return []
    from variantforge.plan.power import outlooks

    return outlooks(opened.plan, opened.store, keys, used, opened.store.root)


def power_document(told: Sequence[Outlook]) -> list[dict[str, Any]]:
    from variantforge.plan.power import sentences

    return [{**one.document, "told": list(sentences(one))} for one in told]


def write_power(out: Output, told: Sequence[Outlook]) -> None:
    if not told:
        return
    from variantforge.plan.power import sentences

    out.line(("gates", "bold"), ("what they can see, 80 times of 100", "dim"))
    rows: list[tuple[Cell, ...]] = []
    for one in told:
        first, *more = sentences(one)
        rows.append((demand_of(vars(one)), counted(len(one.files), "file"), first))
        rows += [("", "", (text, "yellow")) for text in more]
    out.table(rows)


def demand_of(one: Mapping[str, Any]) -> str:
    versus = f"vs {one['vs']} " if one["vs"] else ""
    return f"{one['metric']} {versus}{one['demand']}"
