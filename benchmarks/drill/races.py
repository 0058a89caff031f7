"""Releases that begin at the same moment, each in a process with a store of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.drill import clients, toys
from benchmarks.drill.watch import Watch
from tests.release import lab

from variantforge.release.planning import plan_release
from variantforge.release.transaction import release

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.drill.cases import Bench, Result

_WIDTH = 120


def race(bench: Bench, rivals: int, same: bool, number: int) -> Result:
    """All plan on top of 1.0.0, then release at once: other wishes (one wins) or one wish (nobody loses)."""
    from benchmarks.drill.cases import Result

    result = Result(f"race {number}", f"{rivals} at once, {'one wish' if same else 'other wishes'}", "")
    with bench.room() as place:
        start = bench.prepare("second", "lfs")
        watch = Watch(bench.hub, toys.REPOS)
        bench.hub.after = watch.after
        rooms = [place / str(rival) for rival in range(rivals)]
        wishes = [toys.rival(room, 0 if same else at) for at, room in enumerate(rooms)]
        barrier = clients.CONTEXT.Barrier(rivals)
        children = [
            clients.start(bench.at, room, wish, "lfs", barrier) for room, wish in zip(rooms, wishes, strict=True)
        ]
        for child in children:
            child.join()
        bench.hub.settle()
        ends = [_end(room) for room in rooms]
        won = [at for at, end in enumerate(ends) if end["error"] is None]
        result.told = f"{len(won)} done, {rivals - len(won)} told who won"
        result.requests = len(bench.hub.log) - start
        result.problems += _of_losers(ends)
        if len(won) != (rivals if same else 1):
            result.problems.append(f"{len(won)} won: {ends}"[:600])
        for at in won[:1]:
            result.problems += _of_winner(bench, wishes[at], rooms[at])
        result.problems += [*watch.problems, *watch.look(), *bench.hub.crashes]
        result.looks = watch.looks
    return result


def _end(room: Path) -> dict[str, Any]:
    file = room / "result.json"
    return dict(json.loads(file.read_text())) if file.exists() else {"error": "died", "what": "", "next": ""}


def _of_losers(ends: list[dict[str, Any]]) -> list[str]:
    return [
        f"a loser was told {end['error']}: {end['what']}"[:_WIDTH]
        for end in ends
        if end["error"] and (end["error"] != "MovedHead" or "was first: 1." not in end["what"])
    ]


def _of_winner(bench: Bench, wish: Any, room: Path) -> list[str]:
    """Everything stands as the winner wished, each branch has one commit of it, and nothing is left to write."""
    hub, problems = bench.hub, []
    try:
        lab.check_exposed(hub)
    except AssertionError as error:
        problems.append(f"not whole: {str(error)[:_WIDTH]}")
    for repo in toys.REPOS:
        ours = [line for made in hub.repo(repo).commits() for line in made.body.splitlines() if "-Release:" in line]
        if doubled := {line for line in ours if ours.count(line) > 1}:
            problems.append(f"main of {repo} has {doubled} twice")
        if left := [name for name in hub.repo(repo).branches() if name.startswith("vf/")]:
            problems.append(f"{repo} keeps {left}")
    written, speaker = len(hub.writes), clients.speaker(*bench.at)
    idle = plan_release(wish, speaker)
    release(idle, speaker, lab.journal(room))
    if not idle.nothing_to_do or len(hub.writes) != written:
        problems.append("another run of the winner writes again")
    return problems
