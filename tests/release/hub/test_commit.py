"""Exactly one commit, whatever happens to the question or to its answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.localhub import Fault, LocalHub
from tests.release.hub.conftest import REPO, Heard, Speak
from tests.release.hub.test_client import WEIGHTS
from variantforge.errors import BadRequest, HubError, HubUnreachable, MovedHead, NoAccess, RateLimited, TooLarge
from variantforge.release.hub import Budget, CopyFrom, Hub, Patience

LINE = "Variantforge-Release: 0123 abcd"
COMMIT = "POST */commit/*"


def commits(hub: LocalHub, branch: str = "main") -> int:
    return len(hub.repo(REPO).commits(branch)) - 1  # without the one every repo starts with


def posts(hub: LocalHub) -> int:
    return sum(entry.method == "POST" and "/commit/" in entry.path for entry in hub.log)


def test_all_files_make_one_commit_with_its_trailer(
    hub: LocalHub, ours: Hub, head: str, tmp_path: Path, mode: str
) -> None:
    (tmp_path / "w").write_bytes(WEIGHTS)
    files = {"model.safetensors": tmp_path / "w", "README.md": b"# hello", "empty": b"", "big.bin": WEIGHTS[::-1]}
    oid = ours.commit(REPO, "main", files, message="All", parent=head, trailer=LINE)
    made = ours.history(REPO, "main")[0]
    assert (made.oid, made.title, made.has_line(LINE)) == (oid, "All", True)
    assert commits(hub) == 1
    assert hub.read(REPO, "model.safetensors") == WEIGHTS
    assert hub.read(REPO, "big.bin") == WEIGHTS[::-1]
    assert hub.read(REPO, "empty") == b""


def test_none_takes_a_file_away_and_the_rest_stays(ours: Hub, head: str) -> None:
    first = ours.commit(REPO, "main", {"a": b"1", "d/b": b"2"}, message="Two", parent=head)
    second = ours.commit(REPO, "main", {"a": None}, message="One", parent=first)
    assert set(ours.tree(REPO, second)) == {".gitattributes", "d/b"}


def test_what_would_change_nothing_is_no_commit(hub: LocalHub, ours: Hub, head: str) -> None:
    first = ours.commit(REPO, "main", {"a": b"1"}, message="One", parent=head)
    assert ours.commit(REPO, "main", {"a": b"1"}, message="Again", parent=first) == first
    assert (commits(hub), posts(hub), ours.budget.left()) == (1, 1, 127)


def test_an_older_tree_is_copied_back_without_its_weights_being_sent(
    hub: LocalHub, ours: Hub, head: str, mode: str
) -> None:
    old = ours.commit(REPO, "main", {"model.safetensors": WEIGHTS, "a": b"1"}, message="Old", parent=head)
    changes = {"model.safetensors": WEIGHTS[::-1], "a": b"2", "new": b"3"}
    new = ours.commit(REPO, "main", changes, message="New", parent=old)
    sent = len(hub.log)
    back = {"model.safetensors": CopyFrom(old), "a": CopyFrom(old), "new": None, "b": CopyFrom(old, "a")}
    oid = ours.commit(REPO, "main", back, message="Back", parent=new)
    assert sum(entry.bytes_in for entry in list(hub.log)[sent:]) < 5000
    tree = ours.tree(REPO, oid)
    assert {**ours.tree(REPO, old), "b": tree["b"]} == tree
    assert ours.read(REPO, oid, "b") == b"1"


def test_another_commit_in_between_is_a_moved_head_that_names_who(hub: LocalHub, ours: Hub, head: str) -> None:
    theirs = hub.commit_as_stranger(REPO, {"README.md": b"# theirs"})
    with pytest.raises(MovedHead, match="main of acme/one was moved by stranger: A stranger was here") as caught:
        ours.commit(REPO, "main", {"README.md": b"# ours"}, message="Ours", parent=head, trailer=LINE)
    assert caught.value.head == theirs
    assert hub.read(REPO, "README.md") == b"# theirs"


def test_a_stranger_who_is_faster_by_a_moment_is_not_overwritten(hub: LocalHub, ours: Hub, head: str) -> None:
    hub.faults.append(Fault(COMMIT, "stale_head"))
    with pytest.raises(MovedHead, match="stranger"):
        ours.commit(REPO, "main", {"a": b"1"}, message="Ours", parent=head, trailer=LINE)
    assert commits(hub) == 1


@pytest.mark.parametrize("kind", ["429", "500", "503", "timeout", "refused"])
def test_a_commit_that_was_not_taken_is_sent_again(
    hub: LocalHub, ours: Hub, heard: Heard, head: str, kind: str
) -> None:
    hub.faults.append(Fault(COMMIT, kind, times=2, retry_after_s=7, hang_s=0.05))
    oid = ours.commit(REPO, "main", {"a": b"1"}, message="One", parent=head, trailer=LINE)
    assert hub.repo(REPO).head("main") == oid
    assert (commits(hub), posts(hub)) == (1, 3)
    assert len(heard.told) == 2
    assert all("while committing 1 files to acme/one (main)" in line for line in heard.told)
    assert heard.seconds == (30 if kind == "429" else 3)


@pytest.mark.parametrize("kind", ["reply_lost", "truncated", "wrong_bytes"])
@pytest.mark.parametrize("trailer", [LINE, ""])
def test_a_commit_whose_answer_is_lost_is_found_and_not_sent_again(
    hub: LocalHub, ours: Hub, head: str, kind: str, trailer: str
) -> None:
    hub.faults.append(Fault(COMMIT, kind))
    oid = ours.commit(REPO, "main", {"a": b"1"}, message="One", parent=head, trailer=trailer)
    assert hub.repo(REPO).head("main") == oid
    assert (commits(hub), posts(hub)) == (1, 1)


def test_a_landed_commit_is_found_under_what_a_stranger_put_on_it(hub: LocalHub, ours: Hub, head: str) -> None:
    hub.faults.append(Fault(COMMIT, "reply_lost"))
    hub.after = lambda number: None
    hub.faults.append(Fault("GET */commits/*", "stale_head"))
    oid = ours.commit(REPO, "main", {"a": b"1"}, message="One", parent=head, trailer=LINE)
    assert [each.oid for each in ours.history(REPO, "main")][1:] == [oid, head]
    assert posts(hub) == 1


def test_an_answer_that_never_comes_is_not_waited_for_longer_than_said(hub: LocalHub, speak: Speak, head: str) -> None:
    hub.faults.append(Fault(COMMIT, "timeout", hang_s=3))
    oid = speak(answer_s=0.3).commit(REPO, "main", {"a": b"1"}, message="One", parent=head, trailer=LINE)
    assert (hub.repo(REPO).head("main"), commits(hub)) == (oid, 1)


@pytest.mark.parametrize(
    ("kind", "error"), [("401", NoAccess), ("403", NoAccess), ("413", TooLarge)], ids=["401", "403", "413"]
)
def test_what_trying_again_cannot_mend_is_not_tried_again(
    hub: LocalHub, ours: Hub, heard: Heard, head: str, kind: str, error: type[HubError]
) -> None:
    hub.faults.append(Fault(COMMIT, kind, nth=0))
    with pytest.raises(error, match=f"the Hub answered {kind}") as caught:
        ours.commit(REPO, "main", {"a": b"1"}, message="One", parent=head, trailer=LINE)
    assert caught.value.next
    assert caught.value.exit_code == 1
    assert (posts(hub), commits(hub), heard.told) == (1, 0, [])


def test_a_card_that_the_hub_does_not_take_is_told_with_its_reason(hub: LocalHub, ours: Hub, head: str) -> None:
    card = b"---\nlicense: [no, such]\nbase_model: 3\n---\n"
    with pytest.raises(BadRequest) as caught:
        ours.commit(REPO, "main", {"README.md": card}, message="Card", parent=head)
    assert caught.value.why
    assert posts(hub) == 0


@pytest.mark.parametrize(
    ("kind", "error", "bound_s"),
    [("503", HubUnreachable, 60), ("refused", HubUnreachable, 60), ("429", RateLimited, 90)],
)
def test_patience_ends_and_the_error_says_what_to_do(
    hub: LocalHub, speak: Speak, heard: Heard, head: str, kind: str, error: type[HubError], bound_s: float
) -> None:
    hub.faults.append(Fault(COMMIT, kind, nth=0))
    impatient = speak(patience=Patience(down_s=60, busy_s=90))
    with pytest.raises(error) as caught:
        impatient.commit(REPO, "main", {"a": b"1"}, message="One", parent=head, trailer=LINE)
    assert "run the same command again" in caught.value.next
    assert 0 < heard.seconds <= bound_s
    assert commits(hub) == 0


def test_a_wait_longer_than_patience_is_not_begun(hub: LocalHub, speak: Speak, heard: Heard, head: str) -> None:
    hub.faults.append(Fault(COMMIT, "429", nth=0, retry_after_s=7200))
    with pytest.raises(RateLimited, match="wait another 7201 s"):
        speak().commit(REPO, "main", {"a": b"1"}, message="One", parent=head)
    assert heard.seconds == 0


def test_the_hubs_own_cap_on_commits_is_waited_out(hub: LocalHub, ours: Hub, heard: Heard, head: str) -> None:
    """Its 429 has no header: the time stands in a sentence."""
    from tests.localhub.quotas import Quota

    hub.quotas["commits"] = Quota(1, 600)
    first = ours.commit(REPO, "main", {"a": b"1"}, message="One", parent=head)
    ours._caller._pause = hub.let_pass
    ours.commit(REPO, "main", {"a": b"2"}, message="Two", parent=first)
    assert commits(hub) == 2
    assert "You can retry this action in" in heard.told[0]


def test_the_budget_is_kept_before_the_hub_has_to_say_so(hub: LocalHub, speak: Speak, heard: Heard, head: str) -> None:
    now = 1_000_000.0
    budget = Budget([now - 3500, now - 3400], per_hour=2, clock=lambda: now + heard.seconds)
    oid = speak(budget=budget).commit(REPO, "main", {"a": b"1"}, message="One", parent=head)
    assert hub.repo(REPO).head("main") == oid
    assert heard.told == ["the limit of 2 commits an hour is reached: going on in 100 s"]
    assert heard.seconds == 100
    assert budget.left() == 0


def test_a_window_that_is_used_up_is_waited_out_before_the_next_request(
    hub: LocalHub, speak: Speak, heard: Heard, head: str
) -> None:
    now = 1_000_000.0
    budget = Budget(clock=lambda: now + heard.seconds)
    made = speak(budget=budget)
    budget.heard({"ratelimit": '"api";r=0;t=40'})
    assert made.head(REPO, "main") == head
    assert heard.seconds == 40


def test_a_user_who_wants_to_stop_is_heard_within_a_wait(hub: LocalHub, speak: Speak, heard: Heard, head: str) -> None:
    from variantforge.errors import Interrupted

    hub.faults.append(Fault(COMMIT, "503", nth=0))
    stoppable = speak(stopping=lambda: heard.seconds >= 3)
    with pytest.raises(Interrupted):
        stoppable.commit(REPO, "main", {"a": b"1"}, message="One", parent=head)
    assert heard.seconds == 3


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        *(
            (step, kind)
            for step in ("POST /api/validate-yaml", "POST */preupload/*")
            for kind in ("500", "wrong_bytes")
        ),
        ("GET */xet-write-token/*", "500"),
        ("POST */commit/*", "reply_lost"),
    ],
)
def test_whatever_part_of_a_commit_goes_wrong_once_it_is_made_once(
    hub: LocalHub, ours: Hub, head: str, step: str, kind: str
) -> None:
    fault = Fault(step, kind, hang_s=0.05)
    hub.faults.append(fault)
    files = {"README.md": b"# hi", "model.safetensors": WEIGHTS}
    oid = ours.commit(REPO, "main", files, message="One", parent=head, trailer=LINE)
    assert fault.fired == 1
    assert (hub.repo(REPO).head("main"), commits(hub)) == (oid, 1)
    assert hub.read(REPO, "model.safetensors") == WEIGHTS


@pytest.mark.parametrize("step", ["POST */info/lfs/objects/batch", "PUT */objects/*"])
@pytest.mark.parametrize("kind", ["500", "refused", "reply_lost"])
def test_whatever_part_of_an_lfs_upload_goes_wrong_once_the_commit_is_made_once(
    hub: LocalHub, ours: Hub, head: str, monkeypatch: pytest.MonkeyPatch, step: str, kind: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    fault = Fault(step, kind)
    hub.faults.append(fault)
    oid = ours.commit(REPO, "main", {"model.safetensors": WEIGHTS}, message="One", parent=head, trailer=LINE)
    assert (fault.fired, hub.repo(REPO).head("main"), commits(hub)) == (1, oid, 1)
    assert hub.read(REPO, "model.safetensors") == WEIGHTS


@pytest.mark.parametrize(("kind", "error"), [("503", HubUnreachable), ("429", RateLimited)])
def test_a_storage_that_stays_down_is_told_as_such(
    hub: LocalHub, speak: Speak, ours: Hub, head: str, monkeypatch: pytest.MonkeyPatch, kind: str, error: type[HubError]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.faults.append(Fault("PUT */objects/*", kind, nth=0))
    hasty = speak(patience=Patience(down_s=5, busy_s=15))
    with pytest.raises(error, match=r"committing 1 files"):
        hasty.commit(REPO, "main", {"model.safetensors": WEIGHTS}, message="One", parent=head, trailer=LINE)
    assert commits(hub) == 0


def test_a_hub_without_xet_is_told_with_the_variable_that_helps(
    hub: LocalHub, ours: Hub, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "xet", False)
    with pytest.raises(HubUnreachable) as caught:
        ours.commit(REPO, "main", {"model.safetensors": WEIGHTS}, message="One", parent=head)
    assert "HF_HUB_DISABLE_XET=1" in caught.value.next
    assert commits(hub) == 0


@pytest.mark.parametrize(("kind", "error"), [("401", NoAccess), ("403", NoAccess), ("413", TooLarge)])
def test_a_refused_xet_transfer_is_told_by_its_status(
    hub: LocalHub, ours: Hub, head: str, heard: Heard, kind: str, error: type[HubError]
) -> None:
    hub.faults.append(Fault("GET */xet-write-token/*", kind, nth=0))
    with pytest.raises(error, match=f"the Hub answered {kind} to the Xet transfer"):
        ours.commit(REPO, "main", {"model.safetensors": WEIGHTS}, message="One", parent=head)
    assert (commits(hub), heard.told) == (0, [])
