"""The n-th request of its kind: found again in every run, whatever ids that run's commits have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.drill.toys import WEIGHTS
from tests.localhub.log import LoggedRequest
from tests.release.lab import INDEX

_IDS = re.compile(r"(?<=/vf%2F)[^/]+|(?<=/)[0-9a-f]{40}(?=/|$)|(?<=-)[0-9a-f]{24}(?=/|$)")
_DIGEST = re.compile(r"(?<=/objects/)[0-9a-f]{64}")


class Point(NamedTuple):
    """``match`` is a pattern of ``Fault``; ``role`` is equal for the same request to another repo of the family."""

    match: str
    nth: int
    role: str


def points_of(log: Iterable[LoggedRequest]) -> list[Point]:
    """Every request of a run, in the order of their kinds."""
    counts: Counter[str] = Counter()
    found = []
    for entry in log:
        match = f"{entry.method} {_IDS.sub('*', entry.path)}"
        counts[match] += 1
        found.append(Point(match, counts[match], f"{_role(match)} #{counts[match]}"))
    return sorted(found)


def _role(match: str) -> str:
    for repo in sorted(WEIGHTS, key=len, reverse=True):
        match = match.replace(repo, "REPO")
    return _DIGEST.sub("*", match.replace(INDEX, "INDEX"))


def turns(points: Iterable[Point], count: int) -> list[list[Point]]:
    """For each of ``count`` kinds of fault one point of every role; twins take turns, so that none is left out."""
    roles: dict[str, list[Point]] = {}
    for point in points:
        roles.setdefault(point.role, []).append(point)
    return [[twins[turn % len(twins)] for twins in roles.values()] for turn in range(count)]
