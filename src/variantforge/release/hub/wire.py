"""The HTTP client under huggingface_hub, while a ``Hub`` speaks: timeouts, rate limits read, secrets kept.

huggingface_hub has no timeout of its own on most requests, and sleeps inside some of them for as long as the Hub
says. Here a request that is to be tried again is handed to ``retry`` at once, so that one table decides, one bound
holds and every wait is told. The client of huggingface_hub is one for the whole process; what is ours is known by
its user agent, and requests of others (transformers loading a model) keep their own ways.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from variantforge.redact import hush_logs, redacted
from variantforge.release.hub.budget import Budget

if TYPE_CHECKING:
    import httpx2

AGENT = "variantforge"
AGAIN_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_CONNECT_S, _ANSWER_S = 20.0, 120.0  # a commit of many files is answered when the Hub has written them all
_FOREIGN_WAIT_S = 60  # what others may be told to sleep inside a request of theirs


class Turned(Exception):
    """The Hub turned a request away in a way that asks for another try. ``wait_s`` None: it did not say when."""

    def __init__(self, status: int, wait_s: float | None, said: str, where: str) -> None:
        super().__init__(f"{status} {said}".strip())
        self.status, self.wait_s, self.said, self.where = status, wait_s, said, where


class Wire:
    """What one ``Hub`` hears on its requests: it feeds the budget and hands requests to try again to ``retry``."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def install(self) -> None:
        """Makes huggingface_hub's requests go through this wire, for the whole process."""
        from huggingface_hub import set_client_factory

        hush_logs()
        set_client_factory(self._client)

    def _client(self) -> httpx2.Client:
        import httpx2
        from huggingface_hub.utils._http import hf_request_event_hook

        return httpx2.Client(
            event_hooks={"request": [hf_request_event_hook], "response": [self._heard]},
            follow_redirects=True,
            timeout=httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S),
        )

    def _heard(self, response: httpx2.Response) -> None:
        ours = AGENT in response.request.headers.get("user-agent", "")
        if ours:
            self.budget.heard(response.headers)
        if response.status_code in AGAIN_STATUSES:
            wait_s = asked_wait_s(response.headers)
            if ours or (wait_s or 0) > _FOREIGN_WAIT_S:
                said = redacted(response.headers.get("x-error-message", ""))[:300]
                raise Turned(response.status_code, wait_s, said, response.request.url.path)


def asked_wait_s(headers: Any) -> float | None:
    """Seconds the Hub asks to wait: RateLimit's reset when nothing is left, else Retry-After (seconds or a date)."""
    found = re.search(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("ratelimit", ""))
    if found:
        return float(found[1]) + 1
    after = headers.get("retry-after", "").strip()
    if after.isdigit():
        return float(after)
    return _seconds_until(after) if after else None


def _seconds_until(date: str) -> float | None:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
