"""What the drill found: tables for the terminal and for docs/reliability.md, figures for benchmarks/results/."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.drill.faults import Told
from benchmarks.drill.story import Act

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "drill.json"
DOCS = ROOT / "docs" / "reliability.md"


def act_line(act: Act) -> str:
    word = "missing" if act.missing else "FAILED" if act.problems else "ok"
    window = f"{act.window_s:.2f}" if act.window_s is not None else "-"
    exit_code = "-" if act.code is None else act.code
    figures = f"{exit_code:>4} {act.requests:>6} {act.commits:>5} {act.seconds:>8.1f} {window:>7}"
    return f"{word:8}{act.what:44}{figures}  {act.found}"


ACT_HEADER = f"{'':8}{'act':44}{'exit':>4} {'reqs':>6} {'comm.':>5} {'seconds':>8} {'window':>7}"


def save(part: str, found: dict[str, Any]) -> None:
    """Puts one part of the figures beside the other's, with when and where it was measured."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    where = {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known | {part: where | found}, indent=1) + "\n")


def story_figures(family: str, acts: list[Act]) -> dict[str, Any]:
    return {"family": family, "acts": [{**asdict(act), "seconds": round(act.seconds, 1)} for act in acts]}


def fault_figures(told: Told) -> dict[str, Any]:
    outcomes = {group: dict(sorted(counts.items())) for group, counts in sorted(told.outcomes.items())}
    return {**asdict(told), "outcomes": outcomes, "seconds": round(told.seconds)}


def fault_lines(found: dict[str, Any]) -> list[str]:
    groups = [f"{group:28}{sum(told.values()):>6}  {_told(told)}" for group, told in found["outcomes"].items()]
    tried = f"{found['cases']} of {found['planned']} releases, {found['requests']} requests"
    words = f"{tried}, the hub looked at {found['looks']} times"
    return [*groups, f"{words}; seed {found['seed']}; {len(found['problems'])} problems; {found['seconds']} s"]


def _told(told: dict[str, int]) -> str:
    return ", ".join(f"{word} {count}" for word, count in told.items())


def write_docs() -> None:
    """Rewrites the two tables of docs/reliability.md from the saved figures."""
    figures, text = json.loads(RESULTS.read_text()), DOCS.read_text()
    for part, lines in (("story", _story_table), ("faults", _fault_table)):
        if part in figures:
            begin, end = f"<!-- drill {part} -->", f"<!-- end of drill {part} -->"
            body = "\n".join([begin, *lines(figures[part]), end])
            text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, body=body: body, text, flags=re.DOTALL)
    DOCS.write_text(text)


def _where(found: dict[str, Any]) -> str:
    return f"{found['date']}, {found['cores']} cores, load {found['load_average']} at the end"


def _story_table(found: dict[str, Any]) -> list[str]:
    rows = [
        f"| {it['what']} | `{it['command']}` | {'-' if it['code'] is None else it['code']} | {it['requests']} | "
        f"{it['commits']} | {it['seconds']} | {'' if it['window_s'] is None else it['window_s']} | {_verdict(it)} |"
        for it in found["acts"]
    ]
    head = [
        "| act | command | exit | requests | commits | seconds | mixed window, s | found |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    return [f"The family of the {found['family']}; {_where(found)}.", "", *head, *rows]


def _verdict(act: dict[str, Any]) -> str:
    if act["missing"]:
        return "**the command is missing**"
    return f"**failed**: {len(act['problems'])} problems" if act["problems"] else act["found"] or "as it must be"


def _fault_table(found: dict[str, Any]) -> list[str]:
    rows = [f"| {group} | {sum(told.values())} | {_told(told)} |" for group, told in found["outcomes"].items()]
    share = "" if found["cases"] == found["planned"] else f" of {found['planned']} (in a drawn order, as time allowed)"
    points = ", ".join(f"{name}: {count}" for name, count in found["points"].items())
    return [
        f"{_where(found)}; {found['seconds']} s with two processes; seed {found['seed']}. "
        f"Requests of an undisturbed release: {points}.",
        "",
        "| what went wrong | releases | what was told |",
        "|---|--:|---|",
        *rows,
        "",
        f"**{found['cases']} releases{share}, {found['requests']:,} requests; "
        f"the hub was looked at {found['looks']:,} times: {len(found['problems'])} problems.**",
    ]
