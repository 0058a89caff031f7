"""Every change but commits, with its request gone wrong once: done all the same, once, and what it was is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.localhub import Fault, LocalHub
from tests.release.hub.conftest import REPO, Heard, Speak
from variantforge.errors import HubError, HubUnreachable, NoAccess, NotOnHub
from variantforge.release.hub import CollectionItem, Hub, Patience

Change = Callable[[Hub, str], object]
CHANGES: dict[str, tuple[str, Change]] = {
    "create repo": ("POST /api/repos/create", lambda ours, head: ours.create_repo("acme/two")),
    "branch": ("POST */branch/*", lambda ours, head: ours.create_branch(REPO, "vf/x", head)),
    "delete branch": ("DELETE */branch/*", lambda ours, head: ours.delete_branch(REPO, "old")),
    "tag": ("POST */tag/*", lambda ours, head: ours.tag(REPO, "v1", head)),
    "settings": ("PUT */settings", lambda ours, head: ours.set_visibility(REPO, "public")),
    "collection": ("POST /api/collections", lambda ours, head: ours.collections.create("acme", "Family")),
    "item": ("POST */items", lambda ours, head: ours.collections.add(slug(ours), CollectionItem(REPO, "a note"))),
    "note": (
        "PATCH */items/*",
        lambda ours, head: ours.collections.arrange(slug(ours), [CollectionItem("acme/old", "new")]),
    ),
}
QUESTIONS: dict[str, tuple[str, Change]] = {
    "whoami": ("GET /api/whoami-v2", lambda ours, head: ours.account()),
    "repo": ("GET /api/models/acme/one", lambda ours, head: ours.repo(REPO)),
    "refs": ("GET */refs", lambda ours, head: ours.repo(REPO)),
    "tree": ("GET */tree/*", lambda ours, head: ours.tree(REPO, "main")),
    "history": ("GET */commits/*", lambda ours, head: ours.history(REPO, "main")),
    "read": ("GET */resolve/*", lambda ours, head: ours.read(REPO, "main", ".gitattributes")),
    "collections": ("GET /api/collections", lambda ours, head: ours.collections.find("acme", "Things")),
}


def slug(ours: Hub) -> str:
    there = ours.collections.find("acme", "Things")
    assert there
    return there.slug


@pytest.fixture
def prepared(ours: Hub, head: str) -> Hub:
    ours.create_branch(REPO, "old", head)
    ours.create_repo("acme/old")
    ours.collections.add(ours.collections.create("acme", "Things").slug, CollectionItem("acme/old", "old"))
    ours._account = None
    return ours


def state(hub: LocalHub) -> tuple[object, ...]:
    """All of the Hub but its ids and times."""
    found = hub.repo(REPO)
    collections = sorted(
        (each["title"], [(item["id"], (item.get("note") or {}).get("text")) for item in each["items"]])
        for each in hub.collections.values()
    )
    return sorted(hub.repos), found.branches(), found.tags(), found.private, collections


@pytest.mark.parametrize("kind", ["429", "reply_lost", "wrong_bytes"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_made_once_though_its_request_goes_wrong(
    hub: LocalHub, prepared: Hub, head: str, heard: Heard, name: str, kind: str
) -> None:
    match, change = CHANGES[name]
    before = state(hub)
    fault = Fault(match, kind)
    hub.faults.append(fault)
    change(prepared, head)
    assert fault.fired == 1
    changed = state(hub)
    assert changed != before
    change(prepared, head)
    assert state(hub) == changed


@pytest.mark.parametrize("kind", ["500", "truncated"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_asked_again(hub: LocalHub, prepared: Hub, head: str, name: str, kind: str) -> None:
    match, ask = QUESTIONS[name]
    right = ask(prepared, head)
    prepared._account = None
    fault = Fault(match, kind)
    hub.faults.append(fault)
    assert ask(prepared, head) == right
    assert fault.fired == 1


@pytest.mark.parametrize("kind", ["401", "403", "413", "503"])
@pytest.mark.parametrize("name", ["branch", "settings", "item", "whoami", "tree", "read"])
def test_every_refusal_is_a_named_error_with_a_next_step(
    hub: LocalHub, prepared: Hub, speak: Speak, head: str, name: str, kind: str
) -> None:
    match, do = (CHANGES | QUESTIONS)[name]
    hub.faults.append(Fault(match, kind, nth=0))
    impatient = speak(patience=Patience(2, 2))
    with pytest.raises(HubError) as caught:
        do(impatient, head)
    kinds = {"401": (NoAccess, NotOnHub), "403": NoAccess, "503": HubUnreachable}
    assert isinstance(caught.value, kinds.get(kind, HubError))
    assert caught.value.next
    assert hub.token not in str(caught.value)


def test_a_token_that_the_hub_does_not_know_is_told_so(hub: LocalHub, speak: Speak) -> None:
    stranger = speak(token="hf_nobody_has_this_token")
    with pytest.raises(NoAccess, match="asking the Hub who this token belongs to") as caught:
        stranger.account()
    assert "hf auth login" in caught.value.next
    with pytest.raises(NoAccess):
        stranger.create_repo("acme/two")


def test_offline_mode_is_named(speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable) as caught:
        speak().account()
    assert caught.value.next == "unset HF_HUB_OFFLINE"


def test_a_hub_that_is_not_there_is_told_after_patience(
    speak: Speak, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: pytest.fail("a wait nobody told of"))
    with pytest.raises(HubUnreachable) as caught:
        speak(endpoint="http://127.0.0.1:9", patience=Patience(down_s=10)).tree(REPO, "main")
    assert "no answer from the Hub (ConnectError)" in caught.value.why
    assert 0 < heard.seconds <= 10
