"""Who we are to the Hub, which token goes with which request, and what may be written."""

from __future__ import annotations

import logging

import pytest
from huggingface_hub import HfApi

from tests.localhub import LocalHub, identity
from tests.release.hub.conftest import REPO, Speak
from variantforge.errors import NoAccess
from variantforge.release.hub import Account, Hub
from variantforge.release.hub.access import check_read, verdict_on

JOB = "repo:acme/models:ref:refs/heads/main"


@pytest.fixture
def job(hub: LocalHub, monkeypatch: pytest.MonkeyPatch, ours: Hub) -> None:
    """A CI job that ``acme/one`` trusts."""
    hub.publishers[REPO] = {JOB}
    for name, value in identity.ci_env(hub, JOB, REPO).items():
        monkeypatch.setenv(name, value)


def test_an_account_is_told_with_its_organisations_and_its_tokens_role(hub: LocalHub, ours: Hub, speak: Speak) -> None:
    assert ours.account() == Account("user", "alice", {"acme": "admin"}, "write")
    assert speak(token=hub.accounts.add_token("alice", "read")).account().role == "read"
    assert speak(token="").account() == Account("none")


def test_who_we_are_is_asked_once(hub: LocalHub, ours: Hub) -> None:
    for _ in range(3):
        ours.account()
    assert sum(entry.path == "/api/whoami-v2" for entry in hub.log) == 1


def test_no_token_shows_in_a_repr_or_in_the_objects_text(hub: LocalHub, ours: Hub) -> None:
    assert repr(ours) == f"Hub({hub.endpoint}, user)"
    for each in (repr(ours), str(vars(ours)), repr(ours._credentials), repr(ours.account()), repr(ours.budget)):
        assert hub.token not in each


def test_hf_token_and_then_the_stored_login_are_used(
    hub: LocalHub, speak: Speak, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    assert speak(token=None).account().kind == "none"
    stored = tmp_path / "stored"
    stored.write_text(hub.accounts.add_token("alice", "read") + "\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(stored))
    assert speak(token=None).account().role == "read"
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert speak(token=None).account().role == "write"


def test_the_endpoint_comes_from_the_environment(speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    assert speak(endpoint=None).endpoint == "https://hub.example"
    monkeypatch.delenv("HF_ENDPOINT")
    assert speak(endpoint=None).endpoint == "https://huggingface.co"


@pytest.mark.parametrize(
    ("account", "allowed", "reason"),
    [
        (Account("none"), False, "no token"),
        (Account("oidc"), None, "acme/one must trust this CI job"),
        (Account("user", "acme", {}, "write"), True, "the role admin in acme"),
        (Account("user", "bob", {"acme": "write"}, "write"), True, "the role write in acme"),
        (Account("user", "bob", {"acme": "contributor"}, "write"), True, "the role contributor in acme"),
        (Account("user", "bob", {"acme": "read"}, "write"), False, "bob has the role read in acme"),
        (Account("user", "bob", {"other": "admin"}, "write"), False, "bob is not a member of acme"),
        (Account("user", "acme", {}, "read"), False, "may only read"),
        (Account("user", "acme", {}, "fineGrained"), False, "fine-grained token of acme may not write"),
        (Account("user", "acme", {}, "fineGrained", {"acme": frozenset({"repo.write"})}), True, "admin"),
        (Account("user", "acme", {}, "fineGrained", {"acme/one": frozenset({"repo.write"})}), True, "admin"),
        (Account("user", "acme", {}, "fineGrained", {"acme/two": frozenset({"repo.write"})}), False, "may not write"),
        (
            Account("user", "acme", {}, "fineGrained", {"acme": frozenset({"repo.content.read"})}),
            False,
            "may not write",
        ),
    ],
)
def test_who_may_write_is_decided_from_role_membership_and_scopes(
    account: Account, allowed: bool | None, reason: str
) -> None:
    verdict = verdict_on(account, REPO)
    assert verdict.allowed is allowed
    assert reason in verdict.reason
    assert bool(verdict.next) == (allowed is False)


@pytest.mark.parametrize("scope", ["acme", "acme/one", "alice"])
def test_the_verdict_on_a_fine_grained_token_is_the_hubs_own(
    hub: LocalHub, ours: Hub, speak: Speak, scope: str
) -> None:
    token = hub.accounts.add_token("alice", "fineGrained", scopes={scope: ("repo.write", "repo.content.read")})
    fine = speak(token=token)
    head = ours.head(REPO, "main")
    assert head
    allowed = fine.may_write(REPO).allowed
    assert allowed is (scope != "alice")
    if allowed:
        assert fine.commit(REPO, "main", {"a": b"1"}, message="One", parent=head)
    else:
        with pytest.raises(Exception, match=r"40[134]"):
            fine.commit(REPO, "main", {"a": b"1"}, message="One", parent=head)


def test_a_trusted_publisher_gets_a_token_for_each_repo_that_trusts_it(
    hub: LocalHub, ours: Hub, job: None, speak: Speak
) -> None:
    ours.create_repo("acme/two")
    hub.publishers["acme/two"] = {JOB}
    ci = speak(token=None)
    assert ci.account() == Account("oidc")
    for repo in (REPO, "acme/two"):
        assert ci.may_write(repo).allowed is True
        head = ci.head(repo, "main")
        assert head
        oid = ci.commit(repo, "main", {"a": b"1"}, message="One", parent=head)
        assert ci.history(repo, "main")[0].author == "acme-publisher"
        ci.tag(repo, "v1", oid)
    exchanges = sum(entry.path == "/oauth/token" for entry in hub.log)
    assert exchanges == 2


def test_a_repo_that_does_not_trust_the_job_says_so(hub: LocalHub, ours: Hub, job: None, speak: Speak) -> None:
    ours.create_repo("acme/two")
    ci = speak(token=None)
    verdict = ci.may_write("acme/two")
    assert verdict.allowed is False
    assert verdict.reason == "acme/two does not trust this CI job"
    assert "acme/two/settings" in verdict.next
    with pytest.raises(NoAccess, match="acme/two does not trust this CI job"):
        ci.create_branch("acme/two", "b", "main")
    assert ci.repo("acme/two") is None  # it is private
    ours.set_visibility("acme/two", "public")
    assert ci.head("acme/two", "main")


def test_a_trusted_publisher_creates_no_repo_unless_there_is_hf_token(
    hub: LocalHub, job: None, speak: Speak, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoAccess) as caught:
        speak(token=None).create_repo("acme/two")
    assert caught.value.next == "hf repos create acme/two --private"
    monkeypatch.setenv("HF_TOKEN", hub.token)
    for _ in range(2):
        speak(token=None).create_repo("acme/two")
    assert ("models", "acme/two") in hub.repos


def test_a_job_without_an_identity_is_told_what_it_lacks(
    job: None, speak: Speak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    with pytest.raises(NoAccess) as caught:
        speak(token=None).create_branch(REPO, "b", "main")
    assert "id-token: write" in caught.value.next


def test_a_token_is_fetched_anew_before_it_ends(hub: LocalHub, job: None, speak: Speak, monkeypatch) -> None:
    ci = speak(token=None)
    assert ci.head(REPO, "main")
    now = 1e9
    monkeypatch.setattr("variantforge.release.hub.account.time.monotonic", lambda: now)
    assert ci.head(REPO, "main")
    assert sum(entry.path == "/oauth/token" for entry in hub.log) == 2


def test_gated_and_hidden_models_are_told_apart(hub: LocalHub, ours: Hub, speak: Speak) -> None:
    hub.accounts.add_user("bob", {})
    bob = speak(token=hub.accounts.add_token("bob"))
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.update_repo_settings(REPO, private=False, gated="manual")
    check_read(ours, REPO)
    with pytest.raises(NoAccess) as caught:
        check_read(bob, REPO)
    assert "ask for access" in caught.value.next


def test_huggingface_hubs_own_debug_log_tells_no_token(
    hub: LocalHub, ours: Hub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_DEBUG", True)
    for name in ("huggingface_hub", "httpx2", "httpcore2", "httpcore"):
        caplog.set_level(logging.DEBUG, name)
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
    assert ours.tree(REPO, "main")
    logging.getLogger("somebody").error("sent %s", {"authorization": f"Bearer {hub.token}"})
    assert "GET" in caplog.text
    assert hub.token not in caplog.text
