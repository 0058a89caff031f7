"""Which token goes with which request, and whom the Hub takes it for.

huggingface_hub's own order: a Trusted Publisher (``HF_OIDC_RESOURCE``, a CI job that exchanges its identity for a
token), then HF_TOKEN, then the stored login. A Trusted Publisher's token holds for *one* repo and an hour: one is
fetched for each repo that is written. It can neither create repos nor edit collections; for those HF_TOKEN is
used where it is set.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from variantforge.errors import NoAccess
from variantforge.redact import learn

_MARGIN_S = 300  # a token is fetched anew this long before it ends


@dataclass(frozen=True)
class _Fetched:
    token: str
    ends_at: float


class Credentials:
    """Holds the tokens; its ``repr`` does not show them. ``token`` given by hand overrides the environment."""

    def __init__(self, endpoint: str, token: str | None = None) -> None:
        self._endpoint, self._given = endpoint, token
        self._fetched: dict[str, _Fetched] = {}
        self._untrusting: set[str] = set()
        self._lock = threading.Lock()
        if token:
            learn(token)

    def __repr__(self) -> str:
        return f"Credentials({self.kind})"

    @property
    def kind(self) -> Literal["none", "user", "oidc"]:
        if self._given is None and _has_oidc():
            return "oidc"
        return "user" if self.of_user() else "none"

    def of_user(self) -> str | Literal[False]:
        """The user's own token; False (which huggingface_hub reads as 'send none') when there is none."""
        if self._given is not None:
            return self._given or False
        token = (os.environ.get("HF_TOKEN") or "").strip() or (None if _has_oidc() else _of_login())
        if token:
            learn(token)
        return token or False

    def of_repo(self, repo: str) -> str | Literal[False]:
        """The token for writing to one repo. Raises NoAccess when the repo does not trust this job."""
        return self._exchanged(repo) if self.kind == "oidc" else self.of_user()

    def for_reading(self, repo: str) -> str | Literal[False]:
        """As ``of_repo``; a repo that does not trust this job, or is not there yet, is looked at as anybody would."""
        try:
            return self.of_user() if repo in self._untrusting else self.of_repo(repo)
        except NoAccess:
            self._untrusting.add(repo)
            return self.of_user()

    def _exchanged(self, repo: str) -> str:
        with self._lock:
            known = self._fetched.get(repo)
            if known is None or known.ends_at <= time.monotonic():
                identity = os.environ.get("HF_OIDC_ID_TOKEN") or None
                if identity:
                    learn(identity)
                answer = self._exchange(repo, identity)
                token, lasts_s = str(answer["access_token"]), int(answer.get("expires_in", 3600))
                learn(token)
                # an identity handed in cannot be shown again later, so its token is used to the end
                margin_s = 0 if identity else _MARGIN_S
                known = self._fetched[repo] = _Fetched(token, time.monotonic() + lasts_s - margin_s)
            return known.token

    def _exchange(self, repo: str, identity: str | None) -> Mapping[str, Any]:
        from huggingface_hub._oidc import oidc_login
        from huggingface_hub.errors import BadRequestError

        if minting := os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
            learn(minting)
        try:
            return oidc_login(resource=repo, subject_token=identity, endpoint=self._endpoint)
        except BadRequestError as error:
            raise NoAccess(
                f"{repo} does not trust this CI job",
                why=error.server_message or "",
                next=f"add the job as a Trusted Publisher: {self._endpoint}/{repo}/settings",
            ) from None


def _has_oidc() -> bool:
    return bool(os.environ.get("HF_OIDC_RESOURCE"))


def _of_login() -> str | None:
    from huggingface_hub import get_token

    return get_token()
