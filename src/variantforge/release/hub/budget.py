"""How much the Hub lets one account do: commits an hour, and requests in the windows its own headers tell.

The cap on commits stands in no header: it is counted here, from times that the release journal can hand in.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from variantforge.words import counted

COMMITS_PER_HOUR = 128
_HOUR_S = 3600
_LIMIT = re.compile(r'"(?P<name>\w+)"\s*;\s*r\s*=\s*(?P<left>\d+)\s*;\s*t\s*=\s*(?P<reset>\d+)')


@dataclass(frozen=True)
class Window:
    """What one RateLimit header said: ``left`` requests until ``ends_at`` (seconds of the clock)."""

    left: int
    ends_at: float


class Budget:
    """``commits`` are the times (Unix seconds) of commits already made within the last hour."""

    def __init__(
        self,
        commits: Iterable[float] = (),
        *,
        per_hour: int = COMMITS_PER_HOUR,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.per_hour, self._clock = per_hour, clock
        self.requests = 0  # answered so far
        self._commits = sorted(commits)
        self._windows: dict[str, Window] = {}
        self._lock = threading.Lock()

    def spend(self) -> None:
        """Counts one commit, made now."""
        with self._lock:
            self._commits.append(self._clock())

    def left(self) -> int:
        """Commits that may be made at once."""
        with self._lock:
            return max(0, self.per_hour - len(self._recent()))

    def wait_s(self, commits: int = 1) -> float:
        """Seconds until that many commits fit into the hour; 0 when they do now."""
        with self._lock:
            recent = self._recent()
            excess = len(recent) + min(commits, self.per_hour) - self.per_hour
            return max(0.0, recent[excess - 1] + _HOUR_S - self._clock()) if excess > 0 else 0.0

    def heard(self, headers: Mapping[str, str]) -> None:
        """Counts a response, and takes note of its RateLimit header where it has one."""
        with self._lock:
            self.requests += 1
        found = _LIMIT.search(headers.get("ratelimit", ""))
        if found:
            with self._lock:
                ends_at = self._clock() + int(found["reset"])
                self._windows[found["name"]] = Window(int(found["left"]), ends_at)

    def window(self, name: str = "api") -> Window | None:
        """The last word of the Hub on a window that is still open."""
        with self._lock:
            window = self._windows.get(name)
            return window if window and window.ends_at > self._clock() else None

    def request_wait_s(self, name: str = "api") -> float:
        """Seconds until the next request fits; 0 when it does now, or nothing is known."""
        window = self.window(name)
        return max(0.0, window.ends_at - self._clock()) if window and window.left == 0 else 0.0

    def estimate(self, commits: int, requests: int) -> str:
        """One line for a plan: what a release costs of the budget, and how long it must wait for it."""
        text = f"{counted(commits, 'commit')}, {self.left()} of {self.per_hour} are left this hour"
        text += f"; about {counted(requests, 'request')}"
        window = self.window()
        if window:
            text += f", {window.left:,} are left in this window"
        full_hours = max(0, commits - 1) // self.per_hour
        wait_s = self.wait_s(commits - full_hours * self.per_hour) + full_hours * _HOUR_S if commits else 0
        return f"{text}; the Hub's limit makes it wait {round(wait_s / 60)} min" if wait_s > 0 else text

    def _recent(self) -> list[float]:
        since = self._clock() - _HOUR_S
        self._commits = [at for at in sorted(self._commits) if at > since]
        return self._commits
