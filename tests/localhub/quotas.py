"""Rate limits in fixed windows, and the headers that tell of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tests.localhub.http import HubError, Request


@dataclass(frozen=True)
class Quota:
    """``limit`` requests in each window of ``window_s`` seconds, per user."""

    limit: int
    window_s: int


# What a free account has; commits are counted per user over all its repos, the stricter reading.
FREE = {"api": Quota(1000, 300), "resolvers": Quota(5000, 300), "pages": Quota(200, 300), "commits": Quota(128, 3600)}
# What a hub starts with: drills ask thousands of times.
GENEROUS = {name: Quota(1_000_000, quota.window_s) for name, quota in FREE.items()}


def resource_of(request: Request) -> str:
    """The Hub's name for the kind of request: api, resolvers or pages."""
    if request.path.startswith("/api/"):
        return "api"
    return "resolvers" if "/resolve/" in request.path else "pages"


class Limiter:
    """Counts per (user, resource, window)."""

    def __init__(self) -> None:
        self._used: dict[tuple[str | None, str, int], int] = {}

    def spend(self, quota: Quota, resource: str, user: str | None, now: float) -> tuple[int, int]:
        """Counts one; what is left (below 0: refused) and the seconds until the window ends."""
        window = int(now // quota.window_s)
        key = (user, resource, window)
        self._used[key] = self._used.get(key, 0) + 1
        return quota.limit - self._used[key], math.ceil((window + 1) * quota.window_s - now)

    def headers(self, quotas: dict[str, Quota], request: Request, user: str | None, now: float) -> dict[str, str]:
        """The RateLimit headers of any answer. Raises 429 when the quota is spent."""
        resource = resource_of(request)
        quota = quotas[resource]
        left, seconds = self.spend(quota, resource, user, now)
        headers = {
            "RateLimit": f'"{resource}";r={max(left, 0)};t={seconds}',
            "RateLimit-Policy": f'"fixed window";"{resource}";q={quota.limit};w={quota.window_s}',
        }
        if left < 0:
            message = f"We had to rate limit you: {quota.limit} requests per {quota.window_s} s"
            raise HubError(429, message, headers={**headers, "Retry-After": str(seconds)})
        return headers

    def commit(self, quotas: dict[str, Quota], user: str | None, now: float) -> None:
        """Counts a commit. Raises 429, with no RateLimit header, as this limit is not one of requests."""
        quota = quotas["commits"]
        left, seconds = self.spend(quota, "commits", user, now)
        if left < 0:
            wait = f"{math.ceil(seconds / 60)} minutes" if seconds < 3600 else "about 1 hour"
            raise HubError(
                429,
                f"You have exceeded the rate limit for repository commits ({quota.limit} per hour). "
                f"You can retry this action in {wait}.",
            )
