"""Requests, replies and routes: the little HTTP that the hub needs, on the standard library's threaded server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

if TYPE_CHECKING:
    from tests.localhub.accounts import Caller
    from tests.localhub.hub import LocalHub

CHUNK = 1 << 20


@dataclass
class HubError(Exception):
    """A refusal as the Hub words it: status, message, and the code that the client sorts by."""

    status: int
    message: str
    code: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def reply(self) -> Reply:
        headers = {"X-Error-Message": self.message.replace("\n", " "), **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return Reply.json({"error": self.message, **self.body}, self.status, headers)


@dataclass(frozen=True)
class FileSlice:
    """Bytes ``start`` to ``end`` (exclusive) of a file, sent without reading it whole."""

    path: Path
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def blocks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = len(self)
            while left and (block := file.read(min(CHUNK, left))):
                left -= len(block)
                yield block


@dataclass
class Reply:
    """What goes back: ``body`` is bytes or a slice of a file."""

    status: int = 200
    body: bytes | FileSlice = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        body = json.dumps(value).encode()
        return cls(status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})

    def blocks(self) -> Iterator[bytes]:
        if isinstance(self.body, FileSlice):
            yield from self.body.blocks()
        elif self.body:
            yield self.body


class Request:
    """One request; its body is read from the socket when asked for."""

    def __init__(self, origin: str, method: str, target: str, headers: Mapping[str, str], body: BinaryIO) -> None:
        parts = urlsplit(target)
        self.origin, self.method, self.path = origin, method, parts.path
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.headers = headers
        self.number = 0
        self.bytes_in = 0
        self.caller: Caller | None = None
        self._source = body
        self._body: bytes | None = None
        self._read_to_end = False

    def arg(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]

    def args(self, name: str) -> list[str]:
        return self.query.get(name, []) + self.query.get(f"{name}[]", [])

    def flag(self, name: str) -> bool:
        return self.arg(name).lower() in ("1", "true")

    def blocks(self) -> Iterator[bytes]:
        """The body in blocks, whether it came with a length or chunked; what was read before is not told again."""
        if self._read_to_end:
            return
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            yield from self._chunks()
            return
        left = int(self.headers.get("Content-Length") or 0) - self.bytes_in
        while left > 0:
            block = self._source.read(min(CHUNK, left))
            if not block:
                raise ConnectionError("the client went away within its request")
            left -= len(block)
            self.bytes_in += len(block)
            yield block
        self._read_to_end = True

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._source.readline().split(b";")[0] or b"0", 16):
            block = self._source.read(size)
            if len(block) < size:
                raise ConnectionError("the client went away within its request")
            self.bytes_in += size
            self._source.readline()
            yield block
        self._source.readline()
        self._read_to_end = True

    def drain(self) -> None:
        """Takes what nobody read from the connection, lest it be read as the next request."""
        for _ in self.blocks():
            pass

    @property
    def body(self) -> bytes:
        if self._body is None:
            self._body = b"".join(self.blocks())
        return self._body

    def json(self) -> dict[str, Any]:
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            raise HubError(400, "Invalid JSON in the request body") from None
        if not isinstance(value, dict):
            raise HubError(400, "The request body must be a JSON object")
        return value


Handler = Callable[..., Reply]
Route = tuple[str, str, Handler]


def compile_route(pattern: str) -> re.Pattern[str]:
    """``/api/{type}/{name}/tree/{rev}/{path...}``: ``{x}`` is one segment, ``{x...}`` is the rest."""
    parts = re.split(r"(\{\w+(?:\.\.\.)?\})", pattern)
    return re.compile("".join(_part(part) for part in parts))


def _part(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    name = part.strip("{}.")
    return f"(?P<{name}>.*)" if part.endswith("...}") else f"(?P<{name}>[^/]+)"


class Router:
    """Finds the handler of a request; the first route that fits wins."""

    def __init__(self, routes: list[Route]) -> None:
        self._routes = [(method, compile_route(pattern), handler) for method, pattern, handler in routes]

    def handle(self, hub: LocalHub, request: Request) -> Reply:
        known = False
        for method, pattern, handler in self._routes:
            if found := pattern.fullmatch(request.path):
                if method in (request.method, "GET" if request.method == "HEAD" else None):
                    return handler(hub, request, **{key: unquote(text) for key, text in found.groupdict().items()})
                known = True
        raise HubError(405 if known else 404, f"Cannot {request.method} {request.path}")


def paged(endpoint: str, request: Request, rows: list[Any], size: int) -> Reply:
    """One page of rows; the rest behind a Link header."""
    start = int(request.arg("cursor", "0") or 0)
    end = start + size
    reply = Reply.json(rows[start:end])
    if end < len(rows):
        query = [(key, value) for key, values in request.query.items() for value in values if key != "cursor"]
        following = f"{endpoint}{request.path}?{urlencode([*query, ('cursor', end)])}"
        reply.headers["Link"] = f'<{following}>; rel="next"'
    return reply
