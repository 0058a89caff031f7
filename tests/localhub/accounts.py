"""Users, organisations and tokens, and what a caller may do. Tokens live in memory alone."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from tests.localhub.http import HubError

WRITING_ROLES = ("admin", "write", "contributor")
READ_GATED = "user.gatedrepos.read"  # a fine-grained permission as the Hub names it


def object_id(*parts: object) -> str:
    """24 hex digits as the Hub's database ids have them, the same for the same parts."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:24]


@dataclass
class User:
    """A user; ``orgs`` names the role in each organisation: admin, write, contributor or read."""

    name: str
    orgs: dict[str, str] = field(default_factory=dict)
    fullname: str = ""


@dataclass(frozen=True)
class Token:
    """What a token allows. ``scopes`` of a fine-grained one: namespace or repo -> permissions (``repo.write``, …).

    ``resource`` is set on a token that came from an OIDC exchange: the one repo it may write.
    """

    user: User
    role: str = "write"  # write | read | fineGrained | publisher
    scopes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    resource: str | None = None
    expires: float | None = None


@dataclass(frozen=True)
class Caller:
    """Who asks: a token's user, or nobody."""

    token: Token | None = None

    @property
    def name(self) -> str | None:
        return self.token.user.name if self.token else None

    def member_role(self, namespace: str) -> str | None:
        if self.token is None:
            return None
        return "admin" if namespace == self.token.user.name else self.token.user.orgs.get(namespace)

    def may_read_private(self, kind: str, repo: str) -> bool:
        token = self.token
        if token is None or self.member_role(repo.split("/")[0]) is None:
            return False
        if token.role == "publisher":
            return self._resource() == (kind, repo)
        return token.role != "fineGrained" or self._scoped(repo, "repo.content.read", "repo.write")

    def may_write(self, kind: str, repo: str) -> bool:
        token = self.token
        if token is None or token.role == "read":
            return False
        if token.role == "publisher":
            return self._resource() == (kind, repo)
        if token.role == "fineGrained" and not self._scoped(repo, "repo.write"):
            return False
        return self.member_role(repo.split("/")[0]) in WRITING_ROLES

    def may_create(self, namespace: str, permission: str = "repo.write") -> bool:
        """May this caller make repos (or, with ``collection.write``, collections) in a namespace?"""
        token = self.token
        if token is None or token.role in ("read", "publisher"):
            return False
        if token.role == "fineGrained" and permission not in token.scopes.get(namespace, ()):
            return False
        return self.member_role(namespace) in WRITING_ROLES

    def _scoped(self, repo: str, *permissions: str) -> bool:
        assert self.token is not None
        granted = (*self.token.scopes.get(repo, ()), *self.token.scopes.get(repo.split("/")[0], ()))
        return any(permission in granted for permission in permissions)

    def _resource(self) -> tuple[str, str]:
        assert self.token is not None
        parts = (self.token.resource or "").split("/")
        kind = parts[0] if len(parts) == 3 else "models"
        return kind, "/".join(parts[-2:])


class Accounts:
    """All users, organisations and tokens of a hub."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.orgs: set[str] = set()
        self.tokens: dict[str, Token] = {}

    def add_user(self, name: str, orgs: dict[str, str] | None = None) -> User:
        self.users[name] = User(name, dict(orgs or {}), name.title())
        self.orgs |= set(orgs or {})
        return self.users[name]

    def add_token(
        self,
        user: str,
        role: str = "write",
        *,
        token: str | None = None,
        scopes: dict[str, tuple[str, ...]] | None = None,
        resource: str | None = None,
        expires: float | None = None,
    ) -> str:
        """A new token of a user (or the given text as one)."""
        text = token or self.new_text(role)
        self.tokens[text] = Token(self.users[user], role, dict(scopes or {}), resource, expires)
        return text

    @staticmethod
    def new_text(role: str) -> str:
        return ("hf_jwt_" if role == "publisher" else "hf_") + secrets.token_hex(17)

    def caller(self, token: str | None, now: float) -> Caller:
        """Who holds this token. Raises 401 for a token that is unknown or expired."""
        if token is None:
            return Caller()
        found = self.tokens.get(token)
        if found is None or (found.expires is not None and found.expires <= now):
            raise HubError(401, "Invalid credentials in Authorization header")
        return Caller(found)

    def namespaces(self) -> set[str]:
        return set(self.users) | self.orgs
