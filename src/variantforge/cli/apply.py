"""``vf apply``: do what the plan says. What is finished stays finished, however it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variantforge.cli.force import check_reason, force_refused, forced_gates, write_forced
from variantforge.cli.gates import gates_told, release_gates
from variantforge.cli.hub_state import warn_early
from variantforge.cli.opening import Opened, open_family, published_at
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
    again,
)
from variantforge.cli.output import Output, error_document
from variantforge.cli.progress import outcome_of, reporter_for
from variantforge.cli.release import release_family
from variantforge.cli.teachers import warn_of_missing_keys
from variantforge.cli.words import counted, duration
from variantforge.errors import GateFailed, Interrupted, VariantforgeError

if TYPE_CHECKING:
    from variantforge.run.results import RunReport

app = typer.Typer(**STYLE)
_EXAMPLES = (
    EXAMPLES_HEADING
    + """
  vf apply                         ./family.yaml, all of it
  vf apply qwen.yaml --only code   one variant and what it needs
  vf apply --until merge           train and merge; formats and publication another day
  vf apply --json > report.json    progress to the terminal, the report to a file
  vf apply --parallel 1            one step after another, also where memory would hold several
  vf apply --yes                   also write to the Hub without asking: for CI
  vf apply --frozen                with what variantforge.lock holds, or not at all: for CI
  vf apply --force "REASON"        ship what gates refuse; the reason stands on the cards

\b
Exit codes:
  0 done or nothing to do   1 a step failed   2 wrong file or arguments   3 a gate refused
  4 not as locked (--frozen)   5 interrupted, the same command goes on   6 damaged or swapped bytes   7 refused
  8 another apply is at work
"""
)

# How steps can end, in the order they are told: what went well as a number, the rest with its reasons.
_WELL = ("done", "reused")
_HEADINGS = {
    "refused": "refused by a gate",
    "stopped": "held back, since a gate refused what they need",
    "failed": "failed",
    "interrupted": "interrupted",
    "not run": "not run",
}
_MOST_TOLD = 12  # of steps that were not even begun: the cause stands above them


@app.command(epilog=_EXAMPLES)
def apply(
    ctx: typer.Context,
    file: File = DEFAULT_FILE,
    until: Until = None,
    only: Only = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Run only with exactly what variantforge.lock holds.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write to the Hub without asking: for CI.")] = False,
    offline: Offline = False,
    parallel: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="At most N formats at once; 1: one after another.  [default: what cores and memory allow]",
        ),
    ] = None,
    force: Annotated[
        str | None, typer.Option("--force", metavar="REASON", help="Ship what gates refuse; REASON goes on the cards.")
    ] = None,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Train, merge, quantize, measure, judge and publish whatever is not done yet.

    A failure stops only what depends on it. Ctrl-C saves and stops; the same command goes on from there.
    A family that publishes to the Hub is released at the end, all repos as one, after a look and a question.
    """
    from variantforge.cli.lock import look_at_lock
    from variantforge.plan.explain import explain
    from variantforge.run.runner import run_plan

    out: Output = ctx.obj
    reason = check_reason(force)
    opened = open_family(file, store, out, frozen=frozen, offline=offline)
    look_at_lock(opened, file, out, offline=offline, frozen=frozen)
    selected, whole = opened.plan.select(until=until, only=only or ()), until is None and not only
    if whole and not offline and opened.file.spec.publish.to == "hub":
        warn_early(opened, explain(opened.plan, opened.store, selected=selected), out)
    warn_of_missing_keys(opened, selected, out)
    with reporter_for(out) as reporter:
        report = run_plan(opened.plan, opened.store, selected=selected, reporter=reporter, parallel=parallel)
    if reason and isinstance(report.error, GateFailed) and force_refused(opened, report, reason):
        write(out, opened, report)
        opened = open_family(file, store, out, frozen=frozen, offline=offline)
        selected = opened.plan.select(until=until, only=only or ())
        with reporter_for(out) as reporter:
            report = run_plan(opened.plan, opened.store, selected=selected, reporter=reporter, parallel=parallel)
    elif reason and report.error is None and not list(forced_gates(opened.plan)):
        out.note("--force was not needed: every gate passed")
    write(out, opened, report)
    release, error = None, report.error
    if _may_be_released(opened, report, whole=whole):
        try:
            release = release_family(opened, out, yes)
        except VariantforgeError as failure:
            error = failure
    if as_json:
        out.json(document(opened, report, error) | ({"release": release} if release else {}))
    if error:
        raise _with_next(error, file, out)


def _may_be_released(opened: Opened, report: RunReport, *, whole: bool) -> bool:
    """A family is released as a whole: every step done, or kept back by a gate."""
    return whole and opened.file.spec.publish.to == "hub" and not report.keys("failed", "not run")


def write(out: Output, opened: Opened, report: RunReport) -> None:
    """The end report for people."""
    endings = {key: outcome_of(result) for key, result in report.results.items()}
    outcomes = Counter(endings.values())
    if set(outcomes) <= {"reused"}:
        out.line(("nothing to do:", "ok"), f"{counted(len(report.results), 'step')}, all done before")
    else:
        words = [word for word in (*_WELL, *_HEADINGS) if outcomes[word]]
        counts = [(f"{outcomes[word]} {word}{',' if word != words[-1] else ''}", word) for word in words]
        out.line(f"{duration(report.seconds)}:", *counts)
    for word, heading in _HEADINGS.items():
        keys = [key for key in endings if endings[key] == word]
        rows = [(opened.plan.label(key), report.results[key].message.partition("\n")[0]) for key in keys]
        if rows:
            shown = rows[:_MOST_TOLD] if word in ("stopped", "not run") else rows
            out.line((heading, word))
            out.table(shown)
            if more := len(rows) - len(shown):
                out.line(f"  … and {more} more")
    if gates := release_gates(opened):
        for line in gates_told(gates):
            out.line(line)
    write_forced(out, opened.plan)
    published = [(one["form"], one["at"]) for one in _published(opened, report)]
    if published:
        out.line("laid out for the Hub" if opened.file.spec.publish.to == "hub" else "published")
        out.table(published)


def _published(opened: Opened, report: RunReport) -> Iterator[dict[str, str]]:
    """What stands published after this run, and where."""
    for key in report.keys("done", "reused"):
        step = opened.plan.steps[key]
        if step.stage == "publish":
            name = " ".join(part for part in opened.plan.places_of[key][0][1:] if part)
            yield {"form": name, "at": published_at(opened.file, step.params)}


def document(opened: Opened, report: RunReport, error: VariantforgeError | None) -> dict[str, Any]:
    """The end report for programs."""
    plan, outcomes = opened.plan, Counter(map(outcome_of, report.results.values()))
    return {
        "family": plan.family.family,
        "version": plan.family.version,
        "file": str(opened.file.path),
        "store": str(opened.store.root),
        "seconds": round(report.seconds, 3),
        "summary": {word.replace(" ", "_"): outcomes[word] for word in (*_WELL, *_HEADINGS)},
        "steps": [
            {
                "key": key,
                "label": plan.label(key),
                "stage": plan.steps[key].stage,
                "outcome": outcome_of(result),
                "seconds": round(result.seconds, 3),
                "message": result.message,
                "error": error_document(result.error) if result.error else None,
            }
            for key, result in report.results.items()
        ],
        "published": list(_published(opened, report)),
        **({"forced": forced} if (forced := list(forced_gates(plan))) else {}),
        "error": error_document(error) if error else None,
    }


def _with_next(error: VariantforgeError, file: Path, out: Output) -> VariantforgeError:
    """The error with the command to type, the user's own arguments in it, where it does not bring one."""
    if isinstance(error, Interrupted):
        error.next = out.same_command
    elif not error.next:
        look = f"{again(out, 'show', file)}   # what was measured, and what was demanded"
        error.next = look if isinstance(error, GateFailed) else out.same_command
    return error
