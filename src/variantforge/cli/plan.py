"""``vf plan``: what would run, what is reused, what is blocked, and why. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variantforge.cli.estimates import estimated, estimates_document, write_estimates
from variantforge.cli.force import forced_gates, write_forced
from variantforge.cli.hub_state import look_at_hub, write_hub
from variantforge.cli.markdown import plan_markdown, write_markdown
from variantforge.cli.opening import Opened, Recalled, open_family, recall_family
from variantforge.cli.options import (
    DEFAULT_FILE,
    EXAMPLES_HEADING,
    STYLE,
    File,
    Json,
    Offline,
    Only,
    StoreFolder,
    Until,
)
from variantforge.cli.output import Cell, Output, error_document
from variantforge.cli.power import outlooks_of, power_document, write_power
from variantforge.cli.teachers import askings_document, askings_of, missing_keys, write_askings, write_missing_keys
from variantforge.cli.words import counted
from variantforge.errors import SandboxMissing, UsageError

if TYPE_CHECKING:
    from variantforge.plan.build import Plan
    from variantforge.plan.explain import Decision
    from variantforge.plan.oversampling import Reading

CODE = "code "  # pins of such roles are code that a family file names: a step runs it
CHANGES = 10  # exit code with --detailed-exitcode when something would run
WORDS = ("reuse", "run", "blocked")

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf plan                          of ./family.yaml
  vf plan qwen.yaml --only code    of one variant and what it needs
  vf plan --until merge            without formats, measurements and publication
  vf plan --all                    the reused steps too
  vf plan --markdown               for a pull request; also appended to $GITHUB_STEP_SUMMARY
  vf plan --detailed-exitcode      exit 10 when something would run: for CI
"""  # fmt: skip


@app.command(epilog=_EXAMPLES)
def plan(
    ctx: typer.Context,
    file: File = DEFAULT_FILE,
    until: Until = None,
    only: Only = None,
    everything: Annotated[bool, typer.Option("--all", help="List reused steps one by one.")] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 10, not 0, when something would run.")
    ] = False,
    offline: Offline = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a summary in Markdown.")] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> int:
    """Show what apply would do, step by step, and why.

    Every step is reused, run or blocked. The reason names what changed since the last apply.
    """
    from variantforge.cli.lock import look_at_lock, write_lock_state
    from variantforge.plan.explain import explain
    from variantforge.store.journal import Journal

    out: Output = ctx.obj
    if as_json and markdown:
        raise UsageError("--json and --markdown exclude each other", next=out.command("plan", "--json"))
    opened = recall_family(file, store, out) or open_family(file, store, out, remember=True, offline=offline)
    lock = look_at_lock(opened, file, out, offline=offline) if isinstance(opened, Opened) else None
    used = Journal(opened.store.root / "journal.sqlite").used(opened.plan.family.family)
    decisions = explain(opened.plan, opened.store, used, opened.plan.select(until=until, only=only or ()))
    estimates, over_budget = estimated(opened, decisions)
    refusal = over_budget or _without_walls(opened, decisions)
    mixes, power = _mixes(opened, decisions), outlooks_of(opened, decisions, used)
    asked, keyless = askings_of(opened, decisions), list(missing_keys(opened, decisions))
    whole = until is None and not only
    hub = look_at_hub(opened, decisions, out, whole=whole, offline=offline) if isinstance(opened, Opened) else None
    changes = any(decision.word == "run" for decision in decisions.values()) or bool(hub and hub.writes)
    if as_json or markdown:
        parts = {"lock": lock, "hub": hub}
        told = {**document(opened, decisions), "estimates": estimates and estimates_document(opened.plan, estimates)}
        told |= {name: part.document for name, part in parts.items() if part}
        told |= {"mixes": mixes_document(opened.plan, mixes)} if mixes else {}
        told |= {"teachers": askings_document(opened.plan, asked)} if asked else {}
        told |= {"missing_keys": keyless} if keyless else {}
        told |= {"gates": power_document(power)} if power else {}
        told |= {"forced": forced} if (forced := list(forced_gates(opened.plan))) else {}
        told |= {"error": error_document(refusal)} if refusal else {}
        out.json(told) if as_json else write_markdown(out, plan_markdown(told))
    else:
        write(out, opened.plan, decisions, everything)
        write_forced(out, opened.plan)
        write_mixes(out, opened.plan, mixes)
        write_askings(out, opened.plan, asked)
        write_missing_keys(out, keyless)
        write_power(out, power)
        if estimates:
            write_estimates(out, opened.plan, estimates)
        write_lock_state(out, lock, file)
        write_hub(out, hub)
        if changes and not refusal:
            out.line(("next:", "cyan"), _apply_command(out))
    if refusal:
        raise refusal
    return CHANGES if changes and detailed_exitcode else 0


def write(out: Output, plan: Plan, decisions: Mapping[str, Decision], everything: bool) -> None:
    """The plan for people: one block per variant, reused steps as a number unless ``everything``."""
    grouped = dict(groups(plan, decisions))
    told = {
        key: name_in(plan, key, title)
        for title, keys in grouped.items()
        for key in keys
        if everything or decisions[key].word != "reuse"
    }
    name_width = max(map(len, told.values()), default=0)
    word_width = max((len(decisions[key].word) for key in told), default=0)
    for title, keys in grouped.items():
        shown = [key for key in keys if key in told]
        silent = len(keys) - len(shown)
        out.line((title, "bold"), *([(f"{silent} reused", "dim")] if silent else []))
        rows: list[tuple[Cell, ...]] = [
            ((f"{(one := decisions[key]).word:{word_width}}", one.word), f"{told[key]:{name_width}}", one.reason)
            for key in shown
        ]
        out.table(rows)
    for key in told:
        code = [role.removeprefix(CODE) for role in plan.steps[key].pins if role.startswith(CODE)]
        if code and decisions[key].word != "reuse":
            out.line(("runs code of yours:", "yellow"), f"{', '.join(code)} in {plan.label(key)}")
    out.line(summary(decisions))


def _without_walls(opened: Opened | Recalled, decisions: Mapping[str, Decision]) -> SandboxMissing | None:
    """Why apply would refuse to start, where generated code would be run."""
    steps = opened.plan.steps
    to_run = [key for key, one in decisions.items() if one.word == "run" and steps[key].stage in ("train", "evaluate")]
    if not to_run:
        return None
    from variantforge.plan.walls import refuse_without_walls

    try:
        refuse_without_walls(opened.plan, to_run)
    except SandboxMissing as refusal:
        return refusal
    return None


def _mixes(opened: Opened | Recalled, decisions: Mapping[str, Decision]) -> dict[str, list[Reading]]:
    """How often rows would be read, of the mixes that would be made."""
    steps = opened.plan.steps
    to_make = [key for key, decision in decisions.items() if decision.word == "run" and steps[key].method == "mix"]
    if not to_make:
        return {}
    from variantforge.plan.oversampling import readings

    return readings(opened.plan, opened.store, to_make)


def write_mixes(out: Output, plan: Plan, mixes: Mapping[str, Sequence[Reading]]) -> None:
    """How often the rows of each source would be read."""
    for key, told in mixes.items():
        out.line((f"{plan.label(key)}:", "dim"), "; ".join(_reading(one) for one in told))


def _reading(one: Reading) -> str:
    if one.times is None:
        return f"{one.source} is read as often as its share needs: known once its rows are read"
    rows = f" ({one.rows:,} rows, {round(one.rows * one.times):,} in all)" if one.rows is not None else ""
    return f"{one.source} is read {one.times:.3g} times{rows}"


def mixes_document(plan: Plan, mixes: Mapping[str, Sequence[Reading]]) -> list[dict[str, Any]]:
    return [
        {"key": key, "label": plan.label(key), "sources": [vars(one) for one in told]} for key, told in mixes.items()
    ]


def summary(decisions: Mapping[str, Decision]) -> str:
    """``31 steps: 25 reuse, 6 run, 0 blocked``."""
    words = Counter(decision.word for decision in decisions.values())
    return f"{counted(len(decisions), 'step')}: {', '.join(f'{words[word]} {word}' for word in WORDS)}"


def groups(plan: Plan, keys: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """``(title, keys)``: what several variants share, each variant, the family as a whole; none of them empty."""
    found: dict[str, list[str]] = {"shared": [], **{name: [] for name in plan.family.variants}, "family": []}
    for key in keys:
        found[_group(plan, key)].append(key)
    yield from ((title, members) for title, members in found.items() if members)


def _group(plan: Plan, key: str) -> str:
    first, *others = plan.places_of[key]
    if first.variant and all(place.variant == first.variant for place in others):
        return first.variant
    return "family" if any(place.name == "family" for place in (first, *others)) else "shared"


def name_in(plan: Plan, key: str, title: str) -> str:
    """What a step is called under its group's title: the variant is named only where several share the step."""
    if title == "shared":
        return plan.label(key)
    place = plan.places_of[key][0]
    return f"{place.stage} {place.name}".rstrip()


def document(opened: Opened | Recalled, decisions: Mapping[str, Decision]) -> dict[str, Any]:
    """The plan for programs."""
    plan = opened.plan
    words = Counter(decision.word for decision in decisions.values())
    return {
        "family": plan.family.family,
        "version": plan.family.version,
        "file": str(opened.path),
        "store": str(opened.store.root),
        "summary": {"steps": len(decisions), **{word: words[word] for word in WORDS}},
        "steps": [
            {
                "key": key,
                "label": plan.label(key),
                "stage": plan.steps[key].stage,
                "places": [place._asdict() for place in plan.places_of[key]],
                "decision": decision.word,
                "reason": decision.reason,
            }
            for key, decision in decisions.items()
        ],
    }


def _apply_command(out: Output) -> str:
    """The apply that does what was shown: the user's own arguments, without those only plan has."""
    arguments = [word for word in out.argv[1:] if word not in ("--all", "--detailed-exitcode")]
    return out.command("apply", *arguments)
