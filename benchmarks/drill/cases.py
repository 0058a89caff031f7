"""One release in which something goes wrong: what was told, what was seen meanwhile, and how it ends."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.drill import clients, toys
from benchmarks.drill.clients import Mode
from benchmarks.drill.points import Point, points_of
from benchmarks.drill.watch import Watch
from tests.localhub import Fault, LocalHub
from tests.release import lab

from variantforge.errors import VariantforgeError
from variantforge.release.planning import plan_release
from variantforge.release.transaction import release

ANSWER_S = 1.0  # how long an answer is waited for where the fault is silence
HANG_S = 1.5

# What may come of a single fault of each kind: the release goes through, or this error is told.
DONE = "done"
ALLOWED: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        ("429", "500", "503", "timeout", "reply_lost", "refused", "truncated", "stale_head"), frozenset({DONE})
    ),
    "wrong_bytes": frozenset({DONE, "IntegrityError"}),
    "401": frozenset({"NoAccess"}),
    "403": frozenset({"NoAccess"}),
    "413": frozenset({"TooLarge"}),
}
TRIES = 5  # as many as fit into the drill's patience: 1, 2, 4 and 8 of 20 seconds
TRIES_OF_STORAGE = 6  # huggingface_hub's own, in each of ours
ONE_TRY = ("401", "403", "413")
SHARED = ("/api/validate-yaml", "/api/repos/create")  # asked for several repos side by side


class Kill(NamedTuple):
    """``request``: the n-th, before it is handled or after. ``journal``: the n-th use of it, before or after."""

    what: Literal["request", "journal"]
    nth: int
    when: Literal["before", "after"]


@dataclass(frozen=True)
class Case:
    """``faults``: (point, kind, lasting); a lasting one goes on for ever."""

    group: str
    scenario: str
    mode: Mode = "lfs"
    faults: tuple[tuple[Point, str, bool], ...] = ()
    kill: Kill | None = None
    forgets: bool = False  # the run after it is on another machine: without this one's journal

    def __str__(self) -> str:
        wrong = [
            f"{kind}{' for ever' if lasting else ''} at {point.match} #{point.nth}"
            for point, kind, lasting in self.faults
        ]
        if self.kill:
            wrong.append(f"killed {self.kill.when} {self.kill.what} {self.kill.nth}")
        return f"{self.scenario} by {self.mode}: {'; '.join(wrong)}"


@dataclass
class Result:
    case: str
    group: str
    told: str
    problems: list[str] = field(default_factory=list)
    requests: int = 0
    looks: int = 0
    fired: int = 0


@dataclass
class Bench:
    """One hub and its folder, in which case after case is tried."""

    hub: LocalHub
    folder: Path
    _known: dict[tuple[str, Mode], tuple[dict[str, Any], list[Point], int]] = field(default_factory=dict)

    def undisturbed(self, scenario: str, mode: Mode) -> tuple[dict[str, Any], list[Point], int]:
        """The end of a run that nothing disturbs, its requests, and how often it opens the journal."""
        if (scenario, mode) not in self._known:
            with self.room() as place:
                start = self.prepare(scenario, mode)
                wanted = toys.WISHES[scenario](place)
                watch = Watch(self.hub, toys.REPOS)
                self.hub.after = watch.after
                child = clients.start(self.at, place, wanted, mode, None, (0, "before"))
                child.join()
                told = _result(place)
                assert told["error"] is None, told
                assert watch.problems == [], watch.problems
                lab.check_exposed(self.hub)
                points = points_of(list(self.hub.log)[start:])
                self._known[scenario, mode] = (toys.end_state(self.hub), points, told["journal"])
        return self._known[scenario, mode]

    def try_case(self, case: Case) -> Result:
        """Never raises for what the product does wrong: that stands in ``problems``."""
        end, _, _ = self.undisturbed(case.scenario, case.mode)
        with self.room() as place:
            start = self.prepare(case.scenario, case.mode)
            wanted = toys.WISHES[case.scenario](place)
            watch = Watch(self.hub, toys.REPOS)
            result = Result(str(case), case.group, "")
            self.hub.after = watch.after
            if case.kill:
                self._killed(case, case.kill, place, wanted, watch, result)
            else:
                self._faulty(case, place, wanted, result)
            result.requests = len(self.hub.log) - start
            if case.forgets:
                shutil.rmtree(place / "store", ignore_errors=True)
            result.problems += [f"at the end of it: {what}" for what in watch.look()]
            self._again(case, place, wanted, end, result)
            result.problems += watch.problems
            result.looks = watch.looks
            result.problems += [f"the hub crashed: {crash[-300:]}" for crash in self.hub.crashes]
            return result

    # ---- what goes wrong

    def _faulty(self, case: Case, place: Path, wanted: Any, result: Result) -> None:
        start = len(self.hub.log)
        silent = any(kind == "timeout" for _, kind, _ in case.faults)
        faults = [
            Fault(point.match, kind, nth=point.nth, times=10**9 if lasting else 1, hang_s=HANG_S)
            for point, kind, lasting in case.faults
        ]
        self.hub.faults += faults
        try:
            hub = clients.speaker(*self.at, **({"answer_s": ANSWER_S} if silent else {}))
            release(plan_release(wanted, hub), hub, lab.journal(place))
            result.told = DONE
        except VariantforgeError as error:
            result.told = type(error).__name__
            if not error.what:
                result.problems.append("an error without words")
        except Exception as error:
            result.told = f"bare {type(error).__name__}"
            result.problems.append(f"a bare {type(error).__name__}: {error}")
        self.hub.settle()
        self.hub.faults.clear()
        result.fired = sum(fault.fired > 0 for fault in faults)
        if result.fired < len(faults) and len(faults) == 1:
            result.problems.append("the fault never came: the drill is wrong")
        result.problems += _judged(case, result, list(self.hub.log)[start:], [fault.fired for fault in faults])

    def _killed(self, case: Case, kill: Kill, place: Path, wanted: Any, watch: Watch, result: Result) -> None:
        start, child = len(self.hub.log), []

        def strike(number: int) -> bool | None:
            if number - start != kill.nth:
                return None
            while not child:
                time.sleep(0.001)
            child[0].kill()
            return False

        def after(number: int) -> bool | None:
            watch.after(number)
            return strike(number)

        if kill.what == "request":
            self.hub.before, self.hub.after = (strike, watch.after) if kill.when == "before" else (None, after)
        self_kill = (kill.nth, kill.when) if kill.what == "journal" else None
        child.append(clients.start(self.at, place, wanted, case.mode, None, self_kill))
        child[0].join()
        self.hub.settle()
        self.hub.before, self.hub.after = None, watch.after
        result.told = "killed" if child[0].exitcode == -9 else f"exit code {child[0].exitcode}"
        result.fired = child[0].exitcode == -9
        if not result.fired:
            result.problems.append("it was not killed: the drill is wrong")

    # ---- what comes after

    def _again(self, case: Case, place: Path, wanted: Any, end: dict[str, Any], result: Result) -> None:
        """Without a fault the same command ends as if nothing had been; once more, it writes nothing."""
        written = len(self.hub.writes)
        hub = clients.speaker(*self.at)
        try:
            if result.told != DONE:
                release(plan_release(wanted, hub), hub, lab.journal(place))
                written = len(self.hub.writes)
            idle = plan_release(wanted, hub)
            if not idle.nothing_to_do:
                result.problems.append("another run would write again")
            release(idle, hub, lab.journal(place))
        except VariantforgeError as error:
            result.problems.append(f"the run after it: {type(error).__name__}: {error.what} {error.why}")
            return
        if len(self.hub.writes) != written:
            result.problems.append(f"another run made {len(self.hub.writes) - written} writes")
        result.problems += _differences(end, toys.end_state(self.hub))

    # ---- the bench itself

    @property
    def at(self) -> tuple[str, str]:
        return self.hub.endpoint, self.hub.token

    def prepare(self, scenario: str, mode: Mode) -> int:
        """Returns how many requests have been made before the release begins."""
        clients.settle_client("lfs")
        toys.prepare(self.hub, scenario, self.folder / "images")
        clients.settle_client(mode)
        return len(self.hub.log)

    @contextlib.contextmanager
    def room(self) -> Iterator[Path]:
        place = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _result(place: Path) -> dict[str, Any]:
    import json

    return dict(json.loads((place / "result.json").read_text()))


def _judged(case: Case, result: Result, log: list[Any], fired: list[int]) -> Iterator[str]:
    """Whether the right thing was told, after the right number of tries."""
    if len(case.faults) != 1:
        return
    point, kind, lasting = case.faults[0]
    if lasting:
        askers = len(toys.WEIGHTS) if point.match.endswith(SHARED) else 1
        nested = TRIES_OF_STORAGE if "/objects/" in point.match else 1
        if fired[0] > TRIES * askers * nested:
            yield f"{fired[0]} tries"
        if result.told not in (DONE, "HubUnreachable"):
            yield f"told {result.told} of a hub that is down"
        return
    if result.told not in ALLOWED[kind]:
        yield f"told {result.told}"
    if kind in ONE_TRY and result.told != DONE:
        asked = [entry for entry in log if entry.fault]
        later = [entry for entry in log if asked and entry.number > asked[0].number]
        same = [entry for entry in later if (entry.method, entry.path) == (asked[0].method, asked[0].path)]
        if same and asked[0].path not in SHARED:
            yield "asked again after a no"


def _differences(end: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is not as after an undisturbed run, in a few words."""
    return [
        f"{key} ends otherwise: {_short(end.get(key), now.get(key))}"
        for key in sorted(end.keys() | now.keys())
        if end.get(key) != now.get(key)
    ]


def _short(wanted: Any, found: Any) -> str:
    if isinstance(wanted, dict) and isinstance(found, dict):
        paths = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
        return f"{', '.join(paths)}: {str([found.get(path) for path in paths])[:200]}"
    return f"{str(wanted)[:200]} became {str(found)[:200]}"
