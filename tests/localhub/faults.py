"""The fault script: which request goes wrong, and how."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field

from tests.localhub.http import HubError, Reply, Request

STATUSES = {
    "401": "Invalid credentials in Authorization header",
    "403": "Forbidden: you don't have permission to do this.",
    "413": "Payload too large",
    "429": "You have been rate limited; try again later.",
    "500": "Internal Error - We're working hard to fix this as soon as possible!",
    "503": "Service Unavailable",
}
OTHERS = ("timeout", "reply_lost", "refused", "truncated", "wrong_bytes", "stale_head")
KINDS = (*STATUSES, *OTHERS)


class ConnectionCut(Exception):
    """The connection is closed instead of an answer."""


@dataclass
class Fault:
    """The ``nth`` request that fits ``match`` (``"METHOD /path"`` with ``*``), and ``times - 1`` more, go wrong.

    ``kind``: a status of ``STATUSES`` (nothing is done); ``refused`` (closed before anything is read or done);
    ``timeout`` (nothing is done, silence for ``hang_s``, then closed); ``reply_lost`` (all is done, then closed);
    ``truncated`` and ``wrong_bytes`` (of the body that goes back); ``stale_head`` (a stranger commits to the branch
    that the request names right before the request is handled). ``nth=0`` means each request that fits.
    """

    match: str
    kind: str | int
    nth: int = 1
    times: int = 1
    retry_after_s: int = 1
    hang_s: float = 0.5
    seen: int = field(default=0, init=False)
    fired: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.kind = str(self.kind)
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(KINDS)}")

    def hits(self, request: Request) -> bool:
        """Counts the request if it fits; tells whether it is to go wrong."""
        if not fnmatch.fnmatchcase(f"{request.method} {request.path}", self.match):
            return False
        self.seen += 1
        hit = self.nth == 0 or self.nth <= self.seen < self.nth + self.times
        self.fired += hit
        return hit

    def refusal(self) -> HubError | None:
        """The error answer of a status fault, None for the other kinds."""
        kind = str(self.kind)
        if kind not in STATUSES:
            return None
        headers = {}
        if kind == "429":
            limit = f'"api";r=0;t={self.retry_after_s}'
            headers = {
                "Retry-After": str(self.retry_after_s),
                "RateLimit": limit,
                "RateLimit-Policy": '"fixed window";"api";q=1000;w=300',
            }
        return HubError(int(kind), STATUSES[kind], headers=headers)

    def spoil(self, reply: Reply) -> Reply:
        """The reply with its bytes damaged: same headers and length, other content, or only half of it."""
        body = b"".join(reply.blocks())
        if self.kind == "wrong_bytes" and body:
            body = bytes(byte ^ 0x20 for byte in body[:64]) + body[64:]
        return Reply(reply.status, body, reply.headers)
