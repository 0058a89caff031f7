"""What was asked of the hub, in order; never a token."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from tests.localhub.http import Request

# POSTs that only ask.
ASKING = re.compile(
    r".*/(preupload/[^/]+|paths-info/[^/]+|info/lfs/objects/(batch|verify)|git-upload-pack)|/api/validate-yaml|/oauth/token"
)


@dataclass
class LoggedRequest:
    """``status`` is what the hub answered or would have answered; None when nothing was done."""

    number: int
    origin: str
    method: str
    path: str
    status: int | None = None
    user: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    fault: str | None = None
    finished: bool = False

    @property
    def writes(self) -> bool:
        """Did this request change what the hub holds?"""
        asks = self.method in ("GET", "HEAD") or ASKING.fullmatch(self.path)
        return not asks and self.status is not None and self.status < 300

    def __str__(self) -> str:
        status = "-" if self.status is None else self.status
        who = f" {self.user}" if self.user else ""
        fault = f" [{self.fault}]" if self.fault else ""
        return f"{self.number:4} {status} {self.method} {self.path}{who} {self.bytes_in}>{self.bytes_out}{fault}"


class Log:
    """All requests since the last reset, numbered from 1."""

    def __init__(self) -> None:
        self._entries: list[LoggedRequest] = []
        self._lock = threading.Lock()

    def open(self, request: Request) -> LoggedRequest:
        with self._lock:
            request.number = len(self._entries) + 1
            entry = LoggedRequest(request.number, request.origin, request.method, request.path)
            self._entries.append(entry)
            return entry

    def __iter__(self) -> Iterator[LoggedRequest]:
        return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> LoggedRequest:
        return self._entries[index]
