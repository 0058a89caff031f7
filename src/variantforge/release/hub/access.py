"""What an account may do: decided from what the Hub said of it, and asked of the Hub where that is not enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from variantforge.errors import NoAccess, NotOnHub
from variantforge.release.hub.facts import Account, Verdict
from variantforge.release.hub.wire import get

if TYPE_CHECKING:
    from variantforge.release.hub.client import Hub

RepoType = Literal["model", "dataset"]
_WRITING_ROLES = frozenset({"admin", "write", "contributor"})
_WRITES = "repo.write"  # the Hub's name for the permission, among those of a fine-grained token


def account_of(found: Mapping[str, Any]) -> Account:
    """What ``whoami`` answered."""
    token = found.get("auth", {}).get("accessToken", {})
    scoped = token.get("fineGrained", {}).get("scoped", [])
    return Account(
        "user",
        str(found["name"]),
        {str(org["name"]): str(org.get("roleInOrg", "")) for org in found.get("orgs", [])},
        str(token.get("role", "")),
        {str(each["entity"]["name"]): frozenset(each.get("permissions", ())) for each in scoped},
    )


def verdict_on(account: Account, repo: str) -> Verdict:
    """Pure. ``allowed`` None where only the Hub can tell: a Trusted Publisher is trusted by each repo for itself."""
    namespace = repo.partition("/")[0]
    if account.kind == "none":
        return Verdict(False, "no token: the Hub takes writes from accounts only", "hf auth login   (or set HF_TOKEN)")
    if account.kind == "oidc":
        return Verdict(None, f"{repo} must trust this CI job as a publisher: its settings say so")
    if account.role == "read":
        return Verdict(
            False, f"the token of {account.name} may only read", "hf auth login   (with a token that writes)"
        )
    role = "admin" if namespace == account.name else account.orgs.get(namespace)
    if role is None:
        known = ", ".join(sorted({account.name, *account.orgs}))
        next = f"set publish.namespace to one of: {known}; or ask the admins of {namespace} to add you"
        return Verdict(False, f"{account.name} is not a member of {namespace}", next)
    if role and role not in _WRITING_ROLES:
        next = f"ask the admins of {namespace} for the role write"
        return Verdict(False, f"{account.name} has the role {role} in {namespace}", next)
    if account.role == "fineGrained" and not _scoped(account, repo, namespace):
        next = f"add {_WRITES} for {namespace} to it: https://huggingface.co/settings/tokens"
        return Verdict(False, f"the fine-grained token of {account.name} may not write to {repo}", next)
    return Verdict(True, f"{account.name} has the role {role or 'member'} in {namespace}")


def _scoped(account: Account, *entities: str) -> bool:
    return any(_WRITES in account.scopes.get(entity, ()) for entity in entities)


def may_write(hub: Hub, repo: str, *, exists: bool) -> Verdict:
    """See ``Hub.may_write``."""
    verdict = verdict_on(hub.account(), repo)
    if verdict.allowed is not None or not exists:
        return verdict
    try:
        doing = f"asking whether {repo} may be written"
        hub.change(repo, doing, lambda api, token: api.auth_check(repo, write=True, token=token))
    except NoAccess as error:
        return Verdict(False, error.what, error.next)
    except NotOnHub:
        return verdict
    return Verdict(True, "the Hub says so")


def check_read(hub: Hub, repo: str, kind: RepoType = "model") -> None:
    """Raises NoAccess when the repo is gated and this account is not let in; NotOnHub when it is hidden or missing."""
    hub.ask(
        f"asking whether {repo} may be read",
        lambda api: api.auth_check(repo, repo_type=kind, token=hub.user_token()),
    )


def uses_xet() -> bool:
    """Whether large files would go through Xet: huggingface_hub asks nobody, and falls back to nothing."""
    from huggingface_hub.utils._runtime import is_xet_available

    return is_xet_available()


def speaks_xet(hub: Hub, repo: str) -> bool | None:
    """Whether this Hub gives Xet tokens for writing to a repo; None when it gives us none for other reasons."""
    url = f"{hub.endpoint}/api/models/{repo}/xet-write-token/main"
    try:
        hub.change(repo, f"asking {hub.endpoint} for Xet", lambda api, token: get(url, token))
    except NotOnHub:
        return False
    except NoAccess:
        return None
    return True
