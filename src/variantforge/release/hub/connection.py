"""``Connection``: one endpoint with the credentials of this environment, and the one way in which it is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar

from variantforge.release.hub.access import account_of
from variantforge.release.hub.account import Credentials
from variantforge.release.hub.budget import Budget
from variantforge.release.hub.facts import Account
from variantforge.release.hub.retry import Caller, Patience
from variantforge.release.hub.wire import AGENT, ANSWER_S, Wire

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")


class Connection:
    """The Hub at one endpoint, with the credentials of this environment.

    ``endpoint`` and ``token`` None: from HF_ENDPOINT, and by huggingface_hub's own rules; a token of ``""`` is none.
    ``tell`` hears one line for every wait. ``stopping`` is polled while waiting: true raises Interrupted.
    ``budget`` counts commits; hand in one fed by the journal. An answer is waited for
    ``answer_s`` seconds. Every method raises HubError (see errors.py).
    Safe to use from several threads.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | None = None,
        tell: Callable[[str], None] = lambda text: None,
        *,
        stopping: Callable[[], bool] = lambda: False,
        budget: Budget | None = None,
        patience: Patience | None = None,
        pause: Callable[[float], None] | None = None,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self.budget = budget or Budget()
        self._credentials = Credentials(self.endpoint, token)
        self._caller = Caller(patience=patience or Patience(), tell=tell, stopping=stopping, pause=pause or time.sleep)
        Wire(self.budget, answer_s).install()
        self._api: HfApi | None = None
        self._account: Account | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint}, {self._credentials.kind})"

    # ---- who we are

    def account(self) -> Account:
        """Raises NoAccess when the Hub does not know the token. Asked once: the Hub allows this question rarely."""
        if self._account is None:
            self._account = self._whoami()
        return self._account

    def _whoami(self) -> Account:
        if self._credentials.kind != "user":
            return Account(self._credentials.kind)
        doing = "asking the Hub who this token belongs to"
        return self.ask(doing, lambda api: account_of(api.whoami(token=self.user_token())))

    # ---- how it is asked

    def is_oidc(self) -> bool:
        return self._credentials.kind == "oidc"

    def user_token(self) -> str | Literal[False]:
        return self._credentials.of_user()

    def ask(self, doing: str, call: Callable[[HfApi], T], landed: Callable[[], T | None] | None = None) -> T:
        """``call`` with huggingface_hub's client, by the rules of ``retry``."""
        wait_s = self.budget.request_wait_s()
        if wait_s > 0:
            self._caller.wait_for_room(wait_s, "the Hub's limit on requests is reached", doing)
        return self._caller.attempt(doing, lambda: call(self._hf()), landed)

    def ask_repo(
        self,
        repo: str,
        doing: str,
        call: Callable[[HfApi, str | Literal[False]], T],
    ) -> T:
        """As ``ask``, with the token that holds for reading this repo."""
        return self.ask(doing, lambda api: call(api, self._credentials.for_reading(repo)))

    def change(
        self,
        repo: str,
        doing: str,
        call: Callable[[HfApi, str | Literal[False]], T],
        landed: Callable[[], T | None] | None = None,
    ) -> T:
        """As ``ask``, with the token that holds for writing to this repo."""
        return self.ask(doing, lambda api: call(api, self._credentials.of_repo(repo)), landed)

    def wait_for_room(self, commits: int, doing: str) -> None:
        """Waits until the hour has room for that many commits: for those that must not be long apart."""
        wait_s = self.budget.wait_s(commits)
        if wait_s > 0:
            self._caller.wait_for_room(wait_s, f"the limit of {self.budget.per_hour} commits an hour is reached", doing)

    def wait_for_commit(self, doing: str) -> None:
        """Waits until the hour has room for one more commit."""
        self.wait_for_room(1, doing)

    def _hf(self) -> HfApi:
        if self._api is None:
            from huggingface_hub import HfApi

            from variantforge import __version__

            self._api = HfApi(endpoint=self.endpoint, token=False, library_name=AGENT, library_version=__version__)
        return self._api
