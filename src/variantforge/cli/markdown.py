"""Markdown for pull requests and jobs' summaries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from variantforge.cli.output import Output
from variantforge.cli.power import demand_of
from variantforge.cli.words import counted, duration, size

_MOST = 60  # rows of one table: a summary is read by people


def write_markdown(out: Output, text: str) -> None:
    """To stdout, and to the end of the job's summary where there is one ($GITHUB_STEP_SUMMARY)."""
    from variantforge.fsops import append_text

    for line in text.splitlines():
        out.line(line)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        append_text(Path(summary), text)


def plan_markdown(document: Mapping[str, Any]) -> str:
    """The document of ``vf plan --json``, for people who read a pull request."""
    parts = (_steps(document), _teachers(document), _estimates(document), _gates(document), _hub(document.get("hub")))
    return "\n".join([*(line for part in parts for line in part), ""])


def _steps(document: Mapping[str, Any]) -> Iterator[str]:
    counts = document["summary"]
    yield f"### Plan of {document['family']} {document['version']}"
    yield ""
    rest = f"{counts['reuse']} reuse, {counts['blocked']} blocked"
    yield f"{counted(counts['steps'], 'step')}: **{counts['run']} run**, {rest}."
    rows = [(it["decision"], it["label"], it["reason"]) for it in document["steps"] if it["decision"] != "reuse"]
    yield from _table(("", "step", "why"), rows)


def _teachers(document: Mapping[str, Any]) -> Iterator[str]:
    """What will be asked, and of whom."""
    rows = [(it["label"], it["told"][0], "; ".join(it["told"][1:])) for it in document.get("teachers", ())]
    yield from _table(("rows a teacher writes", "who", "is asked"), rows)
    for text in document.get("missing_keys", ()):
        yield ""
        yield f"**Warning:** {_cell(text)}."


def _estimates(document: Mapping[str, Any]) -> Iterator[str]:
    estimates = document.get("estimates")
    if not estimates or not estimates["steps"]:
        return
    labels = {it["key"]: it["label"] for it in document["steps"]}
    rows = [(labels[key], _memory(it), _time(it["seconds"])) for key, it in estimates["steps"].items()]
    yield from _table(("training", "memory", "time"), rows)
    yield ""
    yield f"{size(estimates['disk_bytes'])} will be written; {size(estimates['disk_free_bytes'])} are free."
    for warning in estimates["warnings"]:
        yield f"**Warning:** {_cell(warning)}."
    if refusal := document.get("error"):
        yield f"**Refused:** {_cell(refusal['what'])}"


def _gates(document: Mapping[str, Any]) -> Iterator[str]:
    """What the gates can see at their sample size."""
    rows = [(demand_of(it), str(len(it["files"])), ". ".join(it["told"])) for it in document.get("gates", ())]
    yield from _table(("gate", "files", "what it can see, 80 times of 100"), rows)
    forced = [(it["gate"], it["reason"]) for it in document.get("forced", ())]
    yield from _table(("ships although refused", "because"), forced)


def _memory(estimate: Mapping[str, Any]) -> str:
    if estimate["memory_bytes"] is None:
        return f"unknown: {estimate['unknown'].get('memory', '')}"
    return f"{'roughly ' * bool(estimate['rough'])}{size(estimate['memory_bytes'])}"


def _time(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"about {duration(seconds)}"


def _hub(hub: Mapping[str, Any] | None) -> Iterator[str]:
    if hub is None:
        return
    yield ""
    release = hub["release"]
    if hub["problem"]:
        yield f"**Hub:** {_cell(hub['problem'])}"
    if release is None:
        yield from _table(("", "repo", "what"), [(it["action"], it["repo"], it["what"]) for it in hub["waiting"]])
    elif release["nothing_to_do"]:
        yield f"The Hub holds release {release['version']} ({release['channel']}) as it is wished."
    else:
        cost = f"{counted(release['commits'], 'commit')}, {size(release['upload_bytes'])} to upload"
        yield f"**Release {release['version']}** on {release['channel']}: {cost}."
        rows = [(it["action"], it["repo"], _files(it)) for it in release["repos"] if it["action"] != "unchanged"]
        yield from _table(("", "repo", "files"), rows)


def _files(change: Mapping[str, Any]) -> str:
    """At most a few names, and the bytes."""
    names = [*change["added"], *change["changed"], *change["removed"], *change["drift"]]
    told = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{told} ({size(change['upload_bytes'])})" if change["upload_bytes"] else told


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows[:_MOST]:
        yield f"| {' | '.join(map(_cell, row))} |"
    if len(rows) > _MOST:
        yield f"| … | {len(rows) - _MOST} more |{' |' * (len(heads) - 2)}"


def _cell(text: str) -> str:
    """Words that stay words in a cell: they come from family files and from the Hub."""
    from variantforge.stages.card.markdown import one_line, plain

    return str(plain(one_line(text)))
