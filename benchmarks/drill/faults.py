"""Which releases are tried, and the processes that try them side by side."""

from __future__ import annotations

import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

from benchmarks.drill import clients, races
from benchmarks.drill.cases import Bench, Case, Kill, Mode, Result
from benchmarks.drill.points import Point, turns
from tests.localhub import LocalHub
from tests.localhub.faults import KINDS

LASTING = ("503", "reply_lost")
# Kinds that could spoil what stands there already: tried on an update, too.
SPOILING = ("wrong_bytes", "stale_head", "reply_lost")
PAIRED = tuple(kind for kind in KINDS if kind != "timeout")


def every_fault(points: list[Point], scenario: str, kinds: Iterable[str] = KINDS, mode: Any = "lfs") -> Iterator[Case]:
    """Each request × each kind; of the same request to sister repos, the kinds take turns."""
    kinds = list(kinds)
    for number, (kind, chosen) in enumerate(zip(kinds, turns(points, len(kinds)), strict=True)):
        for point in chosen:
            yield Case(f"{kind}", scenario, mode, ((point, kind, False),), forgets=bool(number % 2))


def lasting_faults(points: list[Point], scenario: str, kinds: Iterable[str] = LASTING) -> Iterator[Case]:
    kinds = list(kinds)
    for kind, chosen in zip(kinds, turns(points, len(kinds)), strict=True):
        for point in chosen:
            yield Case(f"{kind} for ever", scenario, faults=((point, kind, True),))


def double_faults(points: list[Point], scenario: str, count: int, seed: int) -> Iterator[Case]:
    draw = random.Random(seed)
    for number in range(count):
        chosen = tuple((point, draw.choice(PAIRED), False) for point in draw.sample(points, 2))
        yield Case("two faults", scenario, faults=chosen, forgets=bool(number % 2))


def kills(requests: int, journal: int, scenario: str, mode: Any = "lfs", stride: int = 1) -> Iterator[Case]:
    """SIGKILL at every request, before it is handled and after, and at every use of the local journal."""
    for what, count in (("request", requests), ("journal", journal)):
        for nth in range(1, count + 1, stride):
            for when in ("before", "after"):
                yield Case(f"kill, {what}", scenario, mode, kill=Kill(what, nth, when), forgets=bool(nth % 2))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Size:
    """How much is tried. ``kinds``: of faults; ``stride``: every n-th place to kill; ``rounds``: of each race."""

    kinds: tuple[str, ...] = KINDS
    lasting: tuple[str, ...] = LASTING
    doubles: int = 100
    stride: int = 1
    rounds: int = 20


SAMPLE = Size(("503", "reply_lost", "403"), lasting=(), doubles=0, stride=3, rounds=2)


def all_cases(size: Size, known: dict[tuple[str, Mode], tuple[list[Point], int]], seed: int) -> list[Case]:
    """``known``: the requests of an undisturbed release, and how often it uses its journal."""
    first, journal = known["first", "lfs"]
    second, second_journal = known["second", "lfs"]
    xet = [point for point in known["first", "xet"][0] if "/xet-" in point.match]
    news = [kind for kind in size.kinds if kind in SPOILING]
    return [
        *every_fault(first, "first", size.kinds),
        *every_fault(second, "second", news),
        *every_fault(xet, "first", size.kinds, "xet"),
        *lasting_faults(first, "first", size.lasting),
        *double_faults(first, "first", size.doubles // 2, seed),
        *double_faults(second, "second", size.doubles - size.doubles // 2, seed + 1),
        *kills(len(first), journal, "first", stride=size.stride),
        *kills(len(second), second_journal, "second", stride=3 * size.stride),
    ]


# ---- the processes

_BENCH: Bench  # the one of a worker, with a hub of its own


def _settle(root: str) -> None:
    """Makes this worker's bench in a folder under ``root``: who removes it outlives a worker that is killed."""
    global _BENCH
    os.fsync = lambda descriptor: None  # a killed process loses nothing that it wrote; a power cut is not drilled
    clients.settle_client("lfs")
    folder = Path(tempfile.mkdtemp(dir=root))
    _BENCH = Bench(LocalHub(folder / "hub"), folder)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def undisturbed(scenario: str, mode: Mode) -> tuple[list[Point], int]:
    _, points, journal = _BENCH.undisturbed(scenario, mode)
    return points, journal


@dataclass
class Told:
    """What came of all of it. ``outcomes``: group -> what was told -> how often."""

    seed: int
    points: dict[str, int]
    planned: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)
    cases: int = 0
    requests: int = 0
    looks: int = 0
    seconds: float = 0.0

    def add(self, result: Result) -> None:
        self.outcomes.setdefault(result.group, Counter())[result.told] += 1
        self.cases += 1
        self.requests += result.requests
        self.looks += result.looks
        if result.problems:
            self.problems.append({"case": result.case, "told": result.told, "problems": result.problems})


def run(
    size: Size,
    seed: int,
    *,
    workers: int = 2,
    minutes: float = inf,
    tell: Callable[[str], None] = lambda text: None,
) -> Told:
    """Tries everything of that size, in an order that ``seed`` draws, as far as the time goes.

    ``tell`` hears of progress and of every problem.
    """
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="drill-") as root,
        ProcessPoolExecutor(workers, clients.CONTEXT, _settle, (root,)) as pool,
    ):
        wanted: list[tuple[str, Mode]] = [("first", "lfs"), ("second", "lfs"), ("first", "xet")]
        known = dict(zip(wanted, pool.map(undisturbed, *zip(*wanted, strict=True)), strict=True))
        told = Told(seed, {f"{scenario} by {mode}": len(points) for (scenario, mode), (points, _) in known.items()})
        work: list[Any] = [*all_cases(size, known, seed), *_races(size)]
        random.Random(seed).shuffle(work)  # so that as much of it as there was time for is a fair sample
        told.planned = len(work)
        running = {pool.submit(_do, one) for one in work[: 4 * workers]}
        left = iter(work[4 * workers :])
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for result in (one.result() for one in done):
                told.add(result)
                for problem in result.problems:
                    tell(f"!! {result.case}\n   {problem}")
                if told.cases % 50 == 0:
                    tell(f"{told.cases} of {told.planned} releases, {time.monotonic() - began:.0f} s")
            if time.monotonic() - began < minutes * 60:
                running |= {pool.submit(_do, one) for one in islice(left, len(done))}
    told.seconds = time.monotonic() - began
    return told


def _races(size: Size) -> list[tuple[int, bool, int]]:
    return [(rivals, same, n) for rivals in (2, 4) for same in (False, True) for n in range(size.rounds // 2)]


def _do(work: Case | tuple[int, bool, int]) -> Result:
    return _BENCH.try_case(work) if isinstance(work, Case) else races.race(_BENCH, *work)
