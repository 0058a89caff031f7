"""The two listening sockets: the hub, and the storage that large files are redirected to."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.localhub.faults import ConnectionCut, Fault
from tests.localhub.http import HubError, Reply, Request
from tests.localhub.log import LoggedRequest

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

HOST = "127.0.0.1"
# What the client asks once a day of its own accord; not counted, so that the n-th request is the n-th of the caller.
ASIDE = "/api/agent-harnesses"
NO_AGENTS: dict[str, Any] = {"standardEnvVars": [], "harnesses": {}}


class Server(ThreadingHTTPServer):
    """One origin (``hub`` or ``storage``) on a port of its own."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: LocalHub, origin: str, port: int) -> None:
        self.hub, self.origin = hub, origin
        self._open: set[socket.socket] = set()
        super().__init__((HOST, port), Connection)
        self.url = f"http://{HOST}:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name=f"localhub-{origin}", daemon=True)
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error; anything else is kept for the test to see."""
        self.hub.crashes.append(traceback.format_exc())

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        for connection in list(self._open):
            self.shutdown_request(connection)
        self.server_close()


class Connection(BaseHTTPRequestHandler):
    """A kept-alive connection; each request goes through hooks, faults, the handler and the log."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the client went away
        except (OSError, ValueError):
            if not self.server.hub.stopping.is_set():
                raise
            self.close_connection = True  # the hub closed the socket

    def dispatch(self) -> None:
        hub = self.server.hub
        if self.path == ASIDE:
            self.wfile.write(self._head(reply := Reply.json(NO_AGENTS), len(reply.body)) + b"".join(reply.blocks()))
            return
        request = Request(self.server.origin, self.command, self.path, self.headers, self.rfile)  # type: ignore[arg-type]
        entry = hub.log.open(request)
        try:
            self._answer(hub, request, entry)
        except ConnectionCut:
            self.close_connection = True
        finally:
            entry.bytes_in = request.bytes_in
            entry.finished = True

    def _answer(self, hub: LocalHub, request: Request, entry: LoggedRequest) -> None:
        _call(hub, hub.before, request.number)
        fault = hub.fault_for(request)
        if fault is not None:
            entry.fault = str(fault.kind)
            self._before_handling(hub, request, fault)
        reply = _reply(hub, request, fault)
        entry.status, entry.user = reply.status, request.caller.name if request.caller else None
        _call(hub, hub.after, request.number)
        if fault is not None and fault.kind == "reply_lost":
            raise ConnectionCut
        self._send(reply, request, fault, entry)

    def _before_handling(self, hub: LocalHub, request: Request, fault: Fault) -> None:
        if fault.kind == "refused":
            raise ConnectionCut
        if fault.kind == "timeout":
            hub.hurry.wait(fault.hang_s)
            raise ConnectionCut
        if fault.kind == "stale_head":
            hub.slip_in(request)

    def _send(self, reply: Reply, request: Request, fault: Fault | None, entry: LoggedRequest) -> None:
        request.drain()
        if fault is not None and fault.kind in ("truncated", "wrong_bytes"):
            reply = fault.spoil(reply)
        length = len(reply.body)
        head = self._head(reply, length)
        if request.method == "HEAD" or not length:
            self.wfile.write(head)
            return
        limit = length // 2 if fault is not None and fault.kind == "truncated" else length
        for block in reply.blocks():
            part = block[: limit - entry.bytes_out]
            self.wfile.write(head + part if head else part)
            head = b""
            entry.bytes_out += len(part)
        if limit < length:
            raise ConnectionCut

    def _head(self, reply: Reply, length: int) -> bytes:
        headers = {"Content-Length": str(length), "X-Request-Id": f"localhub-{id(reply):x}", **reply.headers}
        if self.close_connection:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {reply.status} {self.responses.get(reply.status, ('', ''))[0]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = dispatch

    def log_message(self, format: str, *args: object) -> None:
        """The request log is the hub's own."""


def _call(hub: LocalHub, hook: Callable[[int], bool | None] | None, number: int) -> None:
    try:
        go_on = hook is None or hook(number) is not False
    except Exception:
        hub.crashes.append(f"the hook of request {number}\n{traceback.format_exc()}")
        go_on = False
    if not go_on:
        raise ConnectionCut


def _reply(hub: LocalHub, request: Request, fault: Fault | None) -> Reply:
    try:
        if fault is not None and (refusal := fault.refusal()):
            raise refusal
        return hub.handle(request)
    except HubError as refused:
        return refused.reply()
    except (ConnectionError, BrokenPipeError):
        raise ConnectionCut from None
    except Exception:
        hub.crashes.append(f"{request.method} {request.path}\n{traceback.format_exc()}")
        return HubError(500, "Internal Error").reply()
