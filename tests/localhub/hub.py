"""The hub itself: its repos, accounts and collections, its two servers, and what tests look at."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.localhub import remember
from tests.localhub.accounts import Accounts
from tests.localhub.faults import Fault
from tests.localhub.git import Signature
from tests.localhub.http import HubError, Reply, Request, Router
from tests.localhub.log import Log, LoggedRequest
from tests.localhub.quotas import GENEROUS, Limiter, Quota
from tests.localhub.repos import KINDS, Repo
from tests.localhub.routes import HUB_ROUTES, STORAGE_ROUTES
from tests.localhub.server import Server
from tests.localhub.storage import Storage

STRANGER = "stranger"
MIB = 1 << 20


class LocalHub:
    """A Hub on this machine. ``with LocalHub() as hub: HfApi(endpoint=hub.endpoint, token=hub.token)``.

    ``user`` has a write token (``hub.token``) and is an admin of ``org``. ``before(n)`` and ``after(n)`` are called at
    the n-th request, before it is handled and before it is answered; when one returns False the connection is cut
    there. ``crashes`` holds tracebacks of the hub itself and must stay empty; ``leaks`` holds what came to the storage
    with an Authorization header and must stay empty, too.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        port: int = 0,
        user: str = "alice",
        org: str = "acme",
        token: str | None = None,
        xet: bool = True,
    ) -> None:
        self.data = (data or Path(tempfile.mkdtemp(prefix="localhub-"))).resolve()
        self._owns_data = data is None
        self.data.mkdir(parents=True, exist_ok=True)
        self.xet = xet
        self._names = user, org
        self._given_token = token
        self._round = 0  # a client keeps open what it wrote by Xet, so each reset gives it another folder
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.hurry = threading.Event()  # no request hangs any longer
        self._routers = {"hub": Router(HUB_ROUTES), "storage": Router(STORAGE_ROUTES)}
        self._fresh()
        remember.load(self)
        self._servers = [Server(self, "hub", port), Server(self, "storage", port + 1 if port else 0)]
        self.endpoint, self.storage_endpoint = (server.url for server in self._servers)

    def _fresh(self) -> None:
        user, org = self._names
        self._round += 1
        self.storage = Storage(self.data / "lfs", self.data / "xet" / str(self._round))
        self.accounts = Accounts()
        self.accounts.add_user(user, {org: "admin"})
        self.accounts.add_user(STRANGER, {org: "write"})
        self.token = self.accounts.add_token(user, token=self._given_token)
        self.user, self.org = user, org
        self.repos: dict[tuple[str, str], Repo] = {}
        self.moved: dict[tuple[str, str], str] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.publishers: dict[str, set[str]] = {}
        self.webhooks: list[dict[str, Any]] = []
        self.quotas: dict[str, Quota] = dict(GENEROUS)
        self.limiter = Limiter()
        self.faults: list[Fault] = []
        self.log = Log()
        self.crashes: list[str] = []
        self.leaks: list[str] = []
        self.before: Callable[[int], bool | None] | None = None
        self.after: Callable[[int], bool | None] | None = None
        self.multipart_bytes = 64 * MIB
        self.page_size = 1000
        self.uploads: dict[str, dict[str, Any]] = {}
        self._time_passed = 0.0

    def reset(self) -> None:
        """Back to an empty hub at the same addresses, once no request is under way."""
        self.settle()
        with self.lock:
            for name in (*KINDS, "lfs", "xet"):
                shutil.rmtree(self.data / name, ignore_errors=True)
            self._fresh()

    def stop(self) -> None:
        self.stopping.set()
        self.hurry.set()
        for server in self._servers:
            server.stop()
        if not self._owns_data:
            remember.save(self)
        else:
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self) -> LocalHub:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def env(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The variables that point a client process here; ``home`` becomes its HF_HOME."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": token or self.token,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }

    # Time

    def now(self) -> float:
        return time.time() + self._time_passed

    def let_pass(self, seconds: float) -> None:
        """Moves the hub's clock: windows end, tokens expire."""
        self._time_passed += seconds

    # Handling

    def handle(self, request: Request) -> Reply:
        if request.origin == "storage":
            return self._routers["storage"].handle(self, request)
        token = None if request.path.startswith("/_ci/") else _token_of(request)
        request.caller = self.accounts.caller(token, self.now())
        with self.lock:
            limits = self.limiter.headers(self.quotas, request, request.caller.name, self.now())
        try:
            reply = self._routers["hub"].handle(self, request)
        except HubError as refused:
            reply = refused.reply()
        reply.headers = {**limits, **reply.headers}
        return reply

    def fault_for(self, request: Request) -> Fault | None:
        with self.lock:
            hits = [fault for fault in self.faults if fault.hits(request)]
            return hits[0] if hits else None

    def slip_in(self, request: Request) -> None:
        """A stranger commits to the branch that a request is about."""
        parts = [*request.path.strip("/").removeprefix("api/").split("/"), "", "", "", "", ""]
        kind, *name = parts[:3] if parts[0] in KINDS else ("models", *parts[:2])
        repo = self.repos.get((kind, "/".join(name).removesuffix(".git")))
        if repo is not None:
            rev = unquote(parts[4])
            branch = rev if repo.ref_of(rev) else "main"
            self.commit_as_stranger(repo.name, {"stranger.txt": f"request {request.number}\n".encode()}, branch, kind)

    # Repos

    def create_repo(self, kind: str, name: str, *, private: bool = False, author: str | None = None) -> Repo:
        repo = Repo(kind, name, self.data / kind / f"{name}.git", self.now(), private)
        repo.start(self.signature(author or self.user))
        self.repos[kind, name] = repo
        return repo

    def signature(self, name: str) -> Signature:
        return Signature(name, int(self.now()))

    # What tests look at

    def repo(self, name: str, kind: str = "models") -> Repo:
        """``hub.repo("acme/x")`` has ``.head("main")  .files()  .commits()  .branches()  .tags()  .git(…)``."""
        return self.repos[kind, name]

    def settle(self, timeout_s: float = 10) -> None:
        """Waits until no request is under way: a killed client leaves some behind. Raises TimeoutError."""
        end = time.monotonic() + timeout_s
        self.hurry.set()
        while unfinished := [entry for entry in self.log if not entry.finished]:
            if time.monotonic() > end:
                raise TimeoutError(f"still under way: {unfinished[0]}")
            time.sleep(0.005)
        self.hurry.clear()

    @property
    def writes(self) -> list[LoggedRequest]:
        """The requests that changed something, large-file uploads included."""
        return [entry for entry in self.log if entry.writes]

    def read(self, name: str, path: str, rev: str = "main", kind: str = "models") -> bytes:
        """The content of a file as a reader gets it, also behind an LFS pointer."""
        entry = self.repo(name, kind).files(rev)[path]
        if entry.sha256:
            return self.storage.open_path(entry.sha256).read_bytes()
        return self.repo(name, kind).read(path, rev)

    def commit_as_stranger(
        self, name: str, changes: Mapping[str, bytes | None], branch: str = "main", kind: str = "models"
    ) -> str:
        """A commit that somebody else made past us; None deletes a file. Its id."""
        with self.lock:
            repo = self.repo(name, kind)
            ref = repo.ref_of(branch)
            assert ref is not None, f"no branch {branch}"
            return repo.commit(ref, changes, self.signature(STRANGER), "A stranger was here")

    def stored_bytes(self) -> Iterator[tuple[str, bytes]]:
        """All that the hub holds, unpacked, with its place: git objects, large files, settings, the log."""
        for repo in self.repos.values():
            for oid, content in repo.store.objects():
                yield f"{repo.kind}/{repo.name} {oid}", content
            yield f"{repo.kind}/{repo.name} refs", json.dumps(repo.store.refs()).encode()
            yield f"{repo.kind}/{repo.name} discussions", json.dumps(repo.discussions).encode()
        for sha256 in self.storage.xet_files():
            self.storage.open_path(sha256)
        for file in sorted(self.data.rglob("*")):
            if file.is_file() and not any(part.endswith(".git") for part in file.relative_to(self.data).parts):
                yield str(file.relative_to(self.data)), file.read_bytes()
        yield "collections", json.dumps(self.collections).encode()
        yield "webhooks", json.dumps(self.webhooks).encode()
        yield "log", "\n".join(map(str, self.log)).encode()


def _token_of(request: Request) -> str | None:
    """The token of a Bearer header, or the password of git's Basic one."""
    kind, _, value = (request.headers.get("Authorization") or "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip() or None
    if kind.lower() == "basic":
        return base64.b64decode(value).decode().partition(":")[2] or None
    return None
