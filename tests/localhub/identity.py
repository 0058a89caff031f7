"""Who am I, and tokens for an OIDC identity: Trusted Publishers, with a CI that mints identities for tests."""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.localhub import access
from tests.localhub.accounts import Token, User, object_id
from tests.localhub.facts import iso
from tests.localhub.http import HubError, Reply, Request, Route

if TYPE_CHECKING:
    from tests.localhub.hub import LocalHub

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
LIFE_S = 3600
CI_LIFE_S = 300
CI_KEY = b"the key of a continuous integration that only this hub trusts"
CI_REQUEST_TOKEN = "ci-request-token"


def whoami(hub: LocalHub, request: Request) -> Reply:
    caller = access.logged_in(request)
    token = caller.token
    assert token is not None
    user = token.user
    orgs = [
        {"type": "org", "id": object_id("org", org), "name": org, "fullname": org.title(), "roleInOrg": role}
        for org, role in user.orgs.items()
    ]
    access_token: dict[str, Any] = {"displayName": "localhub", "role": token.role, "createdAt": iso(0)}
    if token.role == "fineGrained":
        scoped = [{"entity": entity_of(hub, name), "permissions": list(p)} for name, p in token.scopes.items()]
        access_token["fineGrained"] = {"canReadGatedRepos": True, "global": [], "scoped": scoped}
    return Reply.json(
        {
            "type": "user",
            "id": object_id("user", user.name),
            "name": user.name,
            "fullname": user.fullname or user.name,
            "isPro": False,
            "orgs": orgs,
            "auth": {"type": "access_token", "accessToken": access_token},
        }
    )


def entity_of(hub: LocalHub, name: str) -> dict[str, str]:
    kind = "model" if "/" in name else "org" if name in hub.accounts.orgs else "user"
    return {"_id": object_id(kind, name), "type": kind, "name": name}


# OIDC


def mint(hub: LocalHub, subject: str, audience: str | None = None) -> str:
    """An identity token as a CI would give it to a job, signed so that this hub believes it."""
    now = int(hub.now())
    claims = {"sub": subject, "aud": audience or hub.endpoint, "iat": now, "exp": now + CI_LIFE_S}
    head = _encode({"alg": "HS256", "typ": "JWT"})
    body = _encode(claims)
    return f"{head}.{body}.{_signature(head, body)}"


def ci_env(hub: LocalHub, subject: str, resource: str) -> dict[str, str]:
    """The variables of a GitHub Actions job with ``id-token: write`` whose publisher is ``subject``."""
    return {
        "GITHUB_ACTIONS": "true",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{hub.endpoint}/_ci/{quote(subject, safe='')}/id-token",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": CI_REQUEST_TOKEN,
        "HF_OIDC_RESOURCE": resource,
    }


def ci_token(hub: LocalHub, request: Request, subject: str) -> Reply:
    """Stands for the CI's own service, which has a token of its own."""
    if request.headers.get("Authorization") != f"Bearer {CI_REQUEST_TOKEN}":
        raise HubError(401, "Not a job of this CI")
    return Reply.json({"value": mint(hub, subject, request.arg("audience") or None)})


def _encode(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _signature(head: str, body: str) -> str:
    return hmac.new(CI_KEY, f"{head}.{body}".encode(), "sha256").hexdigest()


def exchange(hub: LocalHub, request: Request) -> Reply:
    """RFC 8693: an identity token against a token for one repo."""
    wish = request.json()
    if wish.get("grant_type") != EXCHANGE or wish.get("subject_token_type") != ID_TOKEN or not wish.get("resource"):
        raise _refused("invalid_request", "grant_type, subject_token_type and resource are required")
    resource = str(wish["resource"]).removeprefix("models/")
    claims = _claims(hub, str(wish.get("subject_token") or ""))
    if claims["sub"] not in hub.publishers.get(resource, ()):
        raise _refused("invalid_grant", f"No trusted publisher of {resource} matches this identity")
    namespace = resource.split("/")[-2]
    user = User(f"{namespace}-publisher", {namespace: "contributor"})
    text = hub.accounts.new_text("publisher")
    hub.accounts.tokens[text] = Token(user, "publisher", {}, resource, hub.now() + LIFE_S)
    told = {"access_token": text, "token_type": "bearer", "expires_in": LIFE_S, "scope": "write-repos"}
    return Reply.json(told)


def _claims(hub: LocalHub, text: str) -> dict[str, Any]:
    head, _, rest = text.partition(".")
    body, _, signature = rest.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(head, body).encode()):
        raise _refused("invalid_grant", "The signature of the identity token is not valid")
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=="))
    if claims["aud"] != hub.endpoint:
        raise _refused("invalid_grant", f"The audience is {claims['aud']}, expected {hub.endpoint}")
    if claims["exp"] <= hub.now():
        raise _refused("invalid_grant", "The identity token has expired")
    return claims


def _refused(error: str, why: str) -> HubError:
    return HubError(400, error, body={"error_description": why})


def webhooks(hub: LocalHub, request: Request) -> Reply:
    access.logged_in(request)
    return Reply.json(hub.webhooks)


ROUTES: list[Route] = [
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/oauth/token", exchange),
    ("GET", "/_ci/{subject}/id-token", ci_token),
    ("GET", "/api/settings/webhooks", webhooks),
]
