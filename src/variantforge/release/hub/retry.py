"""What is tried again, how often, and what every other failure is called: one table for the whole Hub.

| what happened                              | what is done                                             |
|--------------------------------------------|----------------------------------------------------------|
| 429                                        | wait as the Hub says (else 10, 20, 40, 60 s), an hour in all |
| 408, 500, 502, 503, 504, no answer, garbage | wait 1, 2, 4, 8, 16, 30 s or as told, five minutes in all |
| 401, 403, gated                            | NoAccess, at once                                        |
| 404                                        | NotOnHub, at once                                        |
| 412                                        | MovedHead, at once                                       |
| 413                                        | TooLarge, at once                                        |
| 400, 409, 422 and others                   | BadRequest, at once                                      |
| Xet and the Hub do not understand each other | HubUnreachable that names HF_HUB_DISABLE_XET, at once  |

Before a *write* is tried again, ``landed`` looks whether the first try arrived although its answer did not.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from variantforge.errors import (
    BadRequest,
    HubError,
    HubUnreachable,
    Interrupted,
    MovedHead,
    NoAccess,
    NotOnHub,
    RateLimited,
    TooLarge,
    VariantforgeError,
)
from variantforge.redact import redacted
from variantforge.release.hub.wire import AGAIN_STATUSES, Turned, Unanswered, asked_wait_s

T = TypeVar("T")
_SLICE_S = 0.5  # how long a request to stop may go unheard
_NAMED: dict[int, type[HubError]] = {
    401: NoAccess,
    403: NoAccess,
    404: NotOnHub,
    410: NotOnHub,
    412: MovedHead,
    413: TooLarge,
}


@dataclass(frozen=True)
class Patience:
    """Seconds to wait in all, for one thing asked of the Hub: when it is down, and when it limits us."""

    down_s: float = 300
    busy_s: float = 3900


@dataclass(frozen=True)
class Again:
    """A failure worth another try."""

    kind: Literal["down", "busy"]
    wait_s: float | None
    why: str


class Caller:
    """Asks the Hub, again where that helps. ``tell`` hears of every wait; ``stopping`` ends it with Interrupted."""

    def __init__(
        self,
        *,
        patience: Patience,
        tell: Callable[[str], None],
        stopping: Callable[[], bool],
        pause: Callable[[float], None],
    ) -> None:
        self._patience = patience
        self._tell, self._stopping, self._pause = tell, stopping, pause

    def attempt(self, doing: str, do: Callable[[], T], landed: Callable[[], T | None] | None = None) -> T:
        """``do()``, tried again as the table says. Raises a HubError that says what was being done."""
        waited = {"down": 0.0, "busy": 0.0}
        pauses = {"down": _doubling(1, 30), "busy": _doubling(10, 60)}
        while True:
            try:
                return do()
            except (VariantforgeError, KeyboardInterrupt):
                raise
            except Exception as error:
                seen = judge(error, doing)
            if landed is not None and _in_doubt(seen) and (done := landed()) is not None:
                return done
            if not isinstance(seen, Again):
                raise seen
            wait_s = max(next(pauses[seen.kind]), seen.wait_s or 0)
            waited[seen.kind] += wait_s
            if waited[seen.kind] > self._bound_s(seen.kind):
                raise self._given_up(doing, seen, wait_s)
            self.wait(wait_s, f"{seen.why} while {doing}")

    def wait_for_room(self, seconds: float, why: str, doing: str) -> None:
        """Waits for a limit that is known before it is hit. Raises RateLimited when that takes too long."""
        if seconds > self._patience.busy_s:
            raise self._given_up(doing, Again("busy", seconds, why), seconds)
        self.wait(seconds, why)

    def wait(self, seconds: float, why: str) -> None:
        """Waits, and says so. Raises Interrupted when the user asks to stop meanwhile."""
        self._tell(f"{why}: going on in {round(seconds)} s" if seconds >= 1 else why)
        while seconds > 0:
            if self._stopping():
                raise Interrupted("stopped while waiting for the Hub", next="run the same command again")
            self._pause(min(seconds, _SLICE_S))
            seconds -= _SLICE_S

    def _bound_s(self, kind: str) -> float:
        return self._patience.down_s if kind == "down" else self._patience.busy_s

    def _given_up(self, doing: str, seen: Again, wait_s: float) -> HubError:
        if seen.kind == "busy":
            at = time.strftime("%H:%M", time.localtime(time.time() + wait_s))
            return RateLimited(
                f"the Hub limits this account: {doing} would have to wait another {round(wait_s)} s",
                why=seen.why,
                next=f"run the same command again after {at}; it goes on from here",
            )
        return HubUnreachable(
            f"the Hub does not do its part: {doing} was tried for {round(self._patience.down_s)} s",
            why=seen.why,
            next="look at https://status.huggingface.co, then run the same command again; it goes on from here"
            + (" (HF_HUB_DISABLE_XET=1 uploads without Xet)" if "Xet" in seen.why else ""),
        )


def _in_doubt(seen: Again | HubError) -> bool:
    """May a write have been done all the same? Not after 429, which turns it away; after 412, by an earlier try."""
    return isinstance(seen, MovedHead) or (isinstance(seen, Again) and seen.kind == "down")


def _doubling(first_s: float, most_s: float) -> Iterator[float]:
    while True:
        yield first_s
        first_s = min(most_s, first_s * 2)


def judge(error: Exception, doing: str) -> Again | HubError:
    """What a failure of huggingface_hub means. Nothing of the original but its scrubbed words is kept."""
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        OIDCError,
        RepositoryNotFoundError,
    )

    for cause in _causes(error):
        if isinstance(cause, Turned):
            why = f"the Hub answered {cause.status}" + (f" ({cause.said})" if cause.said else "")
            return Again("busy" if cause.status == 429 else "down", cause.wait_s, why)
        if isinstance(cause, OfflineModeIsEnabled):
            return HubUnreachable(f"{doing} needs the Hub, and HF_HUB_OFFLINE is set", next="unset HF_HUB_OFFLINE")
        if isinstance(cause, OIDCError):
            return NoAccess(
                f"no token for {doing}: the job's identity could not be shown to the Hub",
                why=redacted(str(cause)),
                next="unset HF_OIDC_RESOURCE to use HF_TOKEN, or give the job 'permissions: id-token: write'",
            )
        if isinstance(cause, GatedRepoError):
            return _named(NoAccess, cause, doing, "ask for access on the model's page, then: hf auth whoami")
        if isinstance(cause, RepositoryNotFoundError):  # on huggingface.co also a 401, for who shows no token
            return _named(NotOnHub, cause, doing, _next_step(NotOnHub))
        if isinstance(cause, HfHubHTTPError) and (status := cause.response.status_code) in AGAIN_STATUSES:
            # of a storage server, where huggingface_hub has tried again by itself
            wait_s = asked_wait_s(cause.response.headers)
            return Again("busy" if status == 429 else "down", wait_s, f"the storage answered {status}")
        if isinstance(cause, HfHubHTTPError):
            kind = _NAMED.get(cause.response.status_code, BadRequest)
            return _named(kind, cause, doing, _next_step(kind))
        if isinstance(cause, json.JSONDecodeError | KeyError):
            return Again("down", None, "the Hub's answer could not be read")
        if isinstance(cause, Unanswered):
            return Again("down", None, f"no answer from the Hub ({cause})")
        if isinstance(cause, httpx2.TransportError):  # of a storage server, or within a file's bytes
            return Again("down", None, f"no answer from the Hub ({type(cause).__name__})")
    if isinstance(error, ConnectionError) or type(error).__module__.startswith("hf_xet"):
        return _of_xet(error, doing)
    first = redacted(str(error)).strip().splitlines() or [type(error).__name__]
    return HubError(f"{doing} failed", why=first[0][:300])


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _named(kind: type[HubError], error: BaseException, doing: str, next: str) -> HubError:
    response = getattr(error, "response", None)
    status = f"{response.status_code}" if response is not None else type(error).__name__
    said = redacted(getattr(error, "server_message", None) or str(error).strip().partition("\n")[0]).strip()[:500]
    return kind(f"{doing}: the Hub answered {status}", why=said, next=next)


def _next_step(kind: type[HubError]) -> str:
    return {
        NoAccess: "hf auth whoami   (then hf auth login with a token that may write there)",
        NotOnHub: "check the name; a private repo needs a token that sees it: hf auth login",
        TooLarge: "publish fewer or smaller files: see publish.artifacts and quantize",
    }.get(kind, "")


def _of_xet(error: Exception, doing: str) -> Again | HubError:
    """hf_xet raises ConnectionError for everything; the status stands in its sentence: '... (403 Forbidden) ...'."""
    said = redacted(str(error))[:300]
    found = re.search(r"\((\d{3}) ", said)
    status = int(found[1]) if found else 0
    if status in AGAIN_STATUSES or not found:
        return Again("busy" if status == 429 else "down", None, f"the Xet transfer failed ({said})")
    if status in _NAMED and status != 404:
        kind = _NAMED[status]
        return kind(f"{doing}: the Hub answered {status} to the Xet transfer", why=said, next=_next_step(kind))
    return HubUnreachable(
        f"{doing}: the Xet transfer failed",
        why=said,
        next="if this Hub does not speak Xet, set HF_HUB_DISABLE_XET=1 and run the same command again",
    )
