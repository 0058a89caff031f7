"""Before anything is written: what would stop a release, and what to type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.localhub import Fault, LocalHub, identity
from tests.release.hub.conftest import REPO, Heard, Speak, bare, heard, ours, speak  # noqa: F401
from variantforge.release import preflight as module
from variantforge.release.hub import Budget, Hub, Patience
from variantforge.release.preflight import Wish, preflight, wish_of
from variantforge.run.environment import Finding
from variantforge.spec.family import FamilySpec

WISH = Wish("acme", [REPO, "acme/two"], [(REPO, "model")], collection=True, commits=5, requests=60)


def found(hub: Hub, wish: Wish = WISH, store: Path = Path("/")) -> dict[str, Finding]:
    return {finding.name: finding for finding in preflight(hub, wish, store)}


def states(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.state for name, finding in findings.items() if finding.state != "ok"}


def test_a_family_that_may_be_released_has_nothing_against_it(hub: LocalHub, ours: Hub) -> None:  # noqa: F811
    seen = found(ours)
    assert states(seen) == {}
    assert seen["hub account"].found == "alice (write), member of acme"
    assert seen["repos"].found == "2 may be written"
    assert seen["model"].found == "acme/one may be read"
    assert "5 commits, 128 of 128 are left this hour; about 60 requests" in seen["budget"].found
    assert [entry for entry in hub.writes if entry.path != "/api/repos/create"] == []


def test_nobody_may_release_nothing(speak: Speak) -> None:  # noqa: F811
    seen = found(speak(token=""), replace(WISH, reads=[]))
    assert states(seen) == {"hub account": "wrong"}
    assert "hf auth login" in seen["hub account"].next


def test_a_token_the_hub_does_not_know_is_one_finding(speak: Speak) -> None:  # noqa: F811
    assert states(found(speak(token="hf_unknown_to_this_hub_0123"))) == {"hub account": "wrong"}


def test_a_token_that_reads_and_a_stranger_in_the_organisation_are_told_once(hub: LocalHub, speak: Speak) -> None:  # noqa: F811
    wish = replace(WISH, reads=[])
    reading = found(speak(token=hub.accounts.add_token("alice", "read")), wish)
    assert reading["repo"].found == "acme/one and 1 more: the token of alice may only read"
    hub.accounts.add_user("bob", {"other": "write"})
    bob = found(speak(token=hub.accounts.add_token("bob")), wish)
    assert states(bob) == {"namespace": "wrong"}
    assert "bob is not a member of acme" in bob["namespace"].found
    assert "set publish.namespace to one of: bob, other" in bob["namespace"].next


def test_a_gated_base_that_is_not_granted_is_told_with_its_page(hub: LocalHub, ours: Hub, speak: Speak) -> None:  # noqa: F811
    ours.set_visibility(REPO, "public")
    ours.set_gated(REPO, "manual")
    hub.accounts.add_user("bob", {"acme": "read"})
    outsider = hub.accounts.add_user("carol", {})
    carol = found(speak(token=hub.accounts.add_token(outsider.name)), Wish("carol", ["carol/x"], [(REPO, "model")]))
    assert states(carol) == {"model": "wrong"}
    assert carol["model"].next == f"ask for access: {hub.endpoint}/{REPO}"


def test_a_base_that_is_not_there_is_told(ours: Hub) -> None:  # noqa: F811
    seen = found(ours, replace(WISH, reads=[("acme/none", "model")]))
    assert states(seen) == {"model": "wrong"}


def test_a_ci_job_is_told_which_repos_trust_it_and_what_it_cannot_do(
    hub: LocalHub,
    ours: Hub,  # noqa: F811
    speak: Speak,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = "repo:acme/models"
    for name, value in identity.ci_env(hub, job, REPO).items():
        monkeypatch.setenv(name, value)
    hub.publishers[REPO] = {job}
    wish = replace(WISH, reads=[])
    seen = found(speak(token=None), wish)
    assert states(seen) == {"repo": "wrong", "collection": "missing"}
    assert seen["repo"].found == "acme/two: it is not there for this CI job, which cannot create it"
    assert seen["repo"].next.startswith("hf repos create acme/two --private")
    ours.create_repo("acme/two")
    ours.set_visibility("acme/two", "public")
    seen = found(speak(token=None), wish)
    assert seen["repo"].found == "acme/two: acme/two does not trust this CI job"
    assert "acme/two/settings" in seen["repo"].next
    hub.publishers["acme/two"] = {job}
    assert states(found(speak(token=None), wish)) == {"collection": "missing"}
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert states(found(speak(token=None), wish)) == {}


def test_a_budget_that_does_not_last_is_told_with_the_wait(speak: Speak, ours: Hub) -> None:  # noqa: F811
    import time

    seen = found(speak(budget=Budget([time.time()] * 127)))
    assert states(seen) == {"budget": "missing"}
    assert "makes it wait 60 min" in seen["budget"].found


def test_a_hub_without_xet_and_a_client_with_it_do_not_match(
    hub: LocalHub,
    ours: Hub,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "xet", False)
    seen = found(ours)
    assert states(seen) == {"transfer": "wrong"}
    assert seen["transfer"].next == "export HF_HUB_DISABLE_XET=1"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    assert states(found(ours)) == {}


def test_a_full_disk_is_told(ours: Hub, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(module, "free_bytes", lambda path: 10)
    assert states(found(ours)) == {"room": "wrong"}


def test_a_hub_that_is_down_prevents_the_release_alone(hub: LocalHub, speak: Speak) -> None:  # noqa: F811
    hub.faults.append(Fault("*", "503", nth=0))
    seen = found(speak(patience=Patience(3, 3)))
    assert states(seen) == {"hub": "missing"}
    assert "503" in seen["hub"].found


def test_a_hub_that_breaks_down_halfway_loses_no_finding(hub: LocalHub, ours: Hub, speak: Speak) -> None:  # noqa: F811
    hub.faults.append(Fault("GET */auth-check", "500", nth=0))
    seen = found(speak(patience=Patience(3, 3)))
    assert states(seen) == {"hub": "missing"}
    assert (seen["hub account"].state, seen["repos"].state, seen["budget"].state) == ("ok", "ok", "ok")


def test_what_a_family_needs_is_read_from_its_file() -> None:
    variant = {"kind": "code", "data": {"mix": {"rows": 1.0}}, "quantize": ["gguf:Q4_K_M"]}
    family = FamilySpec.model_validate(
        {
            "family": "toy",
            "base": {"model": "org/base"},
            "datasets": {"rows": {"path": "org/rows"}, "local": {"path": "./rows.jsonl"}},
            "variants": {"a": variant, "b": {**variant, "base": "org/other@v1"}},
            "publish": {"to": "hub", "namespace": "acme", "artifacts": ["merged", "gguf"], "collection": "Toys"},
        }
    )
    wish = wish_of(family)
    assert wish.repos == ["acme/toy", "acme/toy-a", "acme/toy-a-GGUF", "acme/toy-b", "acme/toy-b-GGUF"]
    assert wish.reads == [("org/base", "model"), ("org/other", "model"), ("org/rows", "dataset")]
    assert (wish.namespace, wish.collection) == ("acme", True)
