"""The order of versions, and which of them a rollback has taken back."""

from __future__ import annotations

import re
from collections.abc import Iterable

from variantforge.plan.previous import version_order as version_order
from variantforge.release.hub import Hub
from variantforge.release.observed import Observed
from variantforge.release.record import Channel, Trailer, branch_of

_HISTORY = 1000  # commits of the index repo that are looked through
_PARTS = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z_.-]+))?")


def is_newer(version: str, other: str) -> bool:
    return version_order(version) > version_order(other)


def was_released(hub: Hub, seen: Observed, version: str) -> bool:
    """Whether a version has ever stood on the channel: the trailers in the index repo's history say so."""
    head = seen.index.remote.branches.get(branch_of(seen.channel)) if seen.index else None
    if head is None:
        return False
    trailers = (Trailer.find(commit.message) for commit in hub.history(seen.index_repo, head, _HISTORY))
    return any(trailer and is_release_of(trailer, seen.channel, version) for trailer in trailers)


def is_release_of(trailer: Trailer, channel: Channel, version: str) -> bool:
    return bool(re.fullmatch(rf"{channel}-{re.escape(version)}-[0-9a-f]{{32}}", trailer.release))


def was_taken_back(hub: Hub, seen: Observed, version: str) -> bool:
    """Whether the channel was rolled back from that version: it stood there, and an older one stands there now.

    Asks the Hub only where that may be so.
    """
    current = seen.record
    if current is None or not is_newer(version, current.version):
        return False
    return was_released(hub, seen, version)


def next_free(version: str, taken: Iterable[str]) -> str:
    """The smallest patch above a version and all those taken that share its major and minor number."""
    numbers = [_numbers(text) for text in (version, *taken) if _PARTS.match(text)]
    major, minor, _ = _numbers(version)
    patch = max(found[2] for found in numbers if found[:2] == (major, minor))
    return f"{major}.{minor}.{patch + 1}"


def _numbers(version: str) -> tuple[int, int, int]:
    return version_order(version)[:3]
