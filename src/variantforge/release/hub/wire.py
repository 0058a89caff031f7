"""The HTTP client under huggingface_hub, while a ``Hub`` speaks: timeouts, rate limits read, secrets kept.

huggingface_hub has no timeout of its own on most requests, and sleeps inside some of them for as long as the Hub
says. Here a request that is to be tried again is handed to ``retry`` at once, so that one table decides, one bound
holds and every wait is told. The client of huggingface_hub is one for the whole process; what is ours is known by
its user agent, and requests of others (transformers loading a model) keep their own ways.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from variantforge.errors import IntegrityError
from variantforge.redact import hush_logs, redacted
from variantforge.release.hub.budget import Budget

if TYPE_CHECKING:
    import httpx2

AGENT = "variantforge"
_PIECE_BYTES = 1 << 20
AGAIN_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
ANSWER_S = 120.0  # a commit of many files is answered when the Hub has written them all
_CONNECT_S = 20.0
_FOREIGN_WAIT_S = 60  # what others may be told to sleep inside a request of theirs


class Turned(Exception):
    """The Hub turned a request away in a way that asks for another try. ``wait_s`` None: it did not say when."""

    def __init__(self, status: int, wait_s: float | None, said: str, where: str) -> None:
        super().__init__(f"{status} {said}".strip())
        self.status, self.wait_s, self.said, self.where = status, wait_s, said, where


class Unanswered(Exception):
    """There was no answer, or only a part of one; the text is the kind of error."""


class Wire:
    """What one ``Hub`` hears on its requests: it feeds the budget and hands requests to try again to ``retry``."""

    def __init__(self, budget: Budget, answer_s: float) -> None:
        self._budget, self._answer_s = budget, answer_s

    def install(self) -> None:
        """Makes huggingface_hub's requests go through this wire, for the whole process."""
        import logging
        import warnings

        from huggingface_hub import set_client_factory
        from huggingface_hub.utils.tqdm import disable_progress_bars

        hush_logs()
        disable_progress_bars()
        if not os.environ.get("HF_HUB_VERBOSITY") and not os.environ.get("HF_DEBUG"):
            # what it warns of is told here, or is no trouble (a commit that would change nothing)
            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
            warnings.filterwarnings("ignore", module=r"huggingface_hub\.")
        # hf_xet tries for minutes by itself, unseen; what fails then is told here, and tried again from here
        os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2")
        set_client_factory(self._client)

    def _client(self) -> httpx2.Client:
        import httpx2
        from huggingface_hub.utils._http import hf_request_event_hook

        class Client(httpx2.Client):
            def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
                try:
                    return super().send(request, **options)
                except httpx2.TransportError as error:
                    if not _is_ours(request):
                        raise
                    raise Unanswered(type(error).__name__) from None

        return Client(
            event_hooks={"request": [hf_request_event_hook, self._said], "response": [self._heard]},
            follow_redirects=True,
            timeout=httpx2.Timeout(self._answer_s, connect=_CONNECT_S),
        )

    def _said(self, request: httpx2.Request) -> None:
        if request.method == "POST" and "/commit/" in request.url.path and _is_ours(request):
            self._budget.spend()

    def _heard(self, response: httpx2.Response) -> None:
        ours = _is_ours(response.request)
        if ours:
            self._budget.heard(response.headers)
        if response.status_code in AGAIN_STATUSES:
            said = redacted(response.headers.get("x-error-message", ""))[:300]
            wait_s = asked_wait_s(response.headers, said)
            if ours or (wait_s or 0) > _FOREIGN_WAIT_S:
                raise Turned(response.status_code, wait_s, said, response.request.url.path)


def _is_ours(request: httpx2.Request) -> bool:
    return AGENT in request.headers.get("user-agent", "")


def asked_wait_s(headers: Any, said: str = "") -> float | None:
    """Seconds the Hub asks to wait: RateLimit's reset when nothing is left, else Retry-After (seconds or a date), else
    what its sentence says (the cap on commits stands in no header: '... retry this action in 20 minutes')."""
    if found := re.search(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("ratelimit", "")):
        return float(found[1]) + 1
    after = headers.get("retry-after", "").strip()
    if after:
        return float(after) if after.isdigit() else _seconds_until(after)
    if found := re.search(r"retry .*\bin (?:about )?(\d+) (second|minute|hour)", said):
        return float(found[1]) * {"second": 1, "minute": 60, "hour": 3600}[found[2]]
    return None


def _seconds_until(date: str) -> float | None:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def get(url: str, token: str | Literal[False]) -> None:
    """A GET of which only success counts."""
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    hf_raise_for_status(get_session().get(url, headers=_headers(token)))


def pages(url: str, token: str | Literal[False]) -> Iterator[Mapping[str, Any]]:
    """The items of a list that the Hub gives page by page, as far as they are taken."""
    from huggingface_hub.utils._pagination import paginate

    yield from paginate(url, params={}, headers=_headers(token))


def stream(url: str, token: str | Literal[False], limit_bytes: int) -> Iterator[bytes]:
    """A file's bytes in pieces. Raises IntegrityError when there are more than ``limit_bytes``."""
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    with get_session().stream("GET", url, headers=_headers(token)) as response:
        hf_raise_for_status(response)
        came = 0
        for piece in response.iter_bytes(_PIECE_BYTES):
            came += len(piece)
            if came > limit_bytes:
                raise IntegrityError(f"{url} is longer than {limit_bytes} bytes")
            yield piece


def _headers(token: str | Literal[False]) -> dict[str, str]:
    from huggingface_hub.utils._headers import build_hf_headers

    return build_hf_headers(token=token, library_name=AGENT)
