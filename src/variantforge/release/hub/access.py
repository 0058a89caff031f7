"""Whether an account may write somewhere: decided from what the Hub said of it, without asking again."""

from __future__ import annotations

from variantforge.release.hub.facts import Account, Verdict

_WRITING_ROLES = frozenset({"admin", "write", "contributor"})


def may_write(account: Account, repo: str) -> Verdict:
    """Pure. ``allowed`` None where the Hub does not say (fine-grained tokens, Trusted Publishers)."""
    namespace = repo.partition("/")[0]
    if account.kind == "none":
        return Verdict(False, "no token: the Hub takes writes from accounts only", "hf auth login   (or set HF_TOKEN)")
    if account.kind == "oidc":
        return Verdict(None, f"if {repo} trusts this CI job as a publisher: each repo says so in its settings")
    if account.role == "read":
        return Verdict(False, f"the token of {account.name} may only read", "hf auth login   (with a write token)")
    if namespace == account.name:
        return _fine_grained(account, f"{namespace} is this account")
    role = account.orgs.get(namespace)
    if role is None:
        known = ", ".join(sorted({account.name, *account.orgs}))
        return Verdict(
            False,
            f"{account.name} is not a member of {namespace}",
            f"set publish.namespace to one of: {known}; or ask the admins of {namespace} to add you",
        )
    if role and role not in _WRITING_ROLES:
        return Verdict(
            False, f"{account.name} may only {role} in {namespace}", f"ask the admins of {namespace} for write"
        )
    return _fine_grained(account, f"{account.name} has the role {role or 'member'} in {namespace}")


def _fine_grained(account: Account, reason: str) -> Verdict:
    if account.role == "fineGrained":
        return Verdict(None, f"{reason}; the token is fine-grained, and the Hub does not say what for")
    return Verdict(True, reason)
