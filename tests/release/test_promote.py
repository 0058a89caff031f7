"""Promotion and rollback on the local hub: the whole family, by new commits, without an upload."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.localhub import LocalHub
from tests.release.lab import (
    ADAPTER,
    GGUF,
    INDEX,
    MERGED,
    WEIGHTS,
    apply,
    changed,
    check_exposed,
    client,
    desired,
    journal,
    planned,
    release_json,
    tree_at,
)
from variantforge.errors import IntegrityError, UsageError
from variantforge.release.drift import drift_of
from variantforge.release.planning import ReleasePlan
from variantforge.release.promote import plan_promotion, plan_rollback
from variantforge.release.record import Channel
from variantforge.release.transaction import ReleaseReport, release, resume

NEW = changed(WEIGHTS, MERGED, "model.safetensors", b"better weights")


def go(hub: LocalHub, plan: ReleasePlan, folder: Path) -> ReleaseReport:
    return release(plan, client(hub), journal(folder))


def promote(hub: LocalHub, folder: Path) -> ReleaseReport:
    return go(hub, plan_promotion(client(hub), INDEX, "candidate", "stable"), folder)


def rollback(hub: LocalHub, folder: Path, version: str, channel: Channel = "stable") -> ReleaseReport:
    return go(hub, plan_rollback(client(hub), INDEX, version, channel), folder)


def uploads(hub: LocalHub) -> int:
    return len([entry for entry in hub.writes if "lfs" in entry.path or "xet" in entry.path])


def test_a_candidate_becomes_stable_as_it_was_verified(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    candidate = apply(hub, desired(tmp_path, "1.1.0", NEW, channel="candidate"), tmp_path).record
    assert hub.read(MERGED, "model.safetensors") == b"merged weights"
    sent = uploads(hub)
    report = promote(hub, tmp_path)
    check_exposed(hub)
    assert hub.read(MERGED, "model.safetensors") == b"better weights"
    assert report.record.trees == candidate.trees
    assert {repo: it.commit for repo, it in report.record.repos.items()} == {
        repo: it.commit for repo, it in candidate.repos.items()
    }
    assert uploads(hub) == sent
    assert drift_of(client(hub), INDEX).findings == ()
    assert drift_of(client(hub), INDEX, "candidate").drifted == []


def test_a_candidate_leaves_the_collection_of_what_is_stable_alone(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    (collection,) = hub.collections.values()
    wanted = desired(tmp_path, "1.1.0", NEW, channel="candidate")
    assert wanted.collection is not None
    items = tuple(replace(item, note="newer words") for item in wanted.collection.items)
    wanted = replace(wanted, collection=replace(wanted.collection, description="Bigger things", items=items))
    assert planned(hub, wanted).changes.collection == ()
    apply(hub, wanted, tmp_path)
    assert drift_of(client(hub), INDEX).findings == ()
    resume(client(hub), INDEX, journal(tmp_path), "candidate")
    assert collection["description"] == "Small things"
    assert drift_of(client(hub), INDEX, "candidate").drifted == []
    promote(hub, tmp_path)
    assert collection["description"] == "Bigger things"
    assert {item["note"]["text"] for item in collection["items"]} == {"newer words"}


def test_promotion_needs_something_newer(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    with pytest.raises(UsageError, match="no release on its channel candidate"):
        promote(hub, tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", NEW, channel="candidate"), tmp_path)
    promote(hub, tmp_path)
    written = len(hub.writes)
    with pytest.raises(UsageError, match=r"nothing newer than stable: 1\.1\.0 there, 1\.1\.0 here"):
        promote(hub, tmp_path)
    apply(hub, desired(tmp_path, "1.2.0", WEIGHTS), tmp_path)
    with pytest.raises(UsageError, match="nothing newer") as refused:
        promote(hub, tmp_path)
    assert "vf rollback 1.1.0" in refused.value.next
    assert len([entry for entry in hub.writes if "candidate" in entry.path]) <= written


def test_a_channel_is_not_promoted_to_itself(hub: LocalHub) -> None:
    with pytest.raises(UsageError, match="stable cannot be promoted to itself"):
        plan_promotion(client(hub), INDEX, "stable", "stable")


def test_a_rollback_restores_every_tree_by_commits_on_top(hub: LocalHub, tmp_path: Path) -> None:
    first = apply(hub, desired(tmp_path), tmp_path).record
    apply(hub, desired(tmp_path, "1.1.0", NEW, {ADAPTER: "# Other words"}), tmp_path)
    before = {repo: hub.repo(repo).head("main") for repo in WEIGHTS}
    sent = uploads(hub)
    report = rollback(hub, tmp_path, "1.0.0")
    check_exposed(hub)
    for repo, released in first.repos.items():
        assert tree_at(hub, repo, "main") == released.tree
        assert before[repo] in [commit.oid for commit in hub.repo(repo).commits("main")], "history was forced"
    assert hub.repo(GGUF).head("main") == before[GGUF], "a repo that was not changed got a commit"
    assert (report.record.version, report.record.supersedes) == ("1.0.0", "1.1.0")
    assert hub.repo(MERGED).tags().keys() == {"v1.0.0", "v1.1.0"}
    assert uploads(hub) == sent
    assert drift_of(client(hub), INDEX).findings == ()


def test_what_people_wrote_since_survives_a_rollback(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", NEW, {MERGED: "# New words"}), tmp_path)
    card = hub.read(MERGED, "README.md")
    hub.commit_as_stranger(MERGED, {"README.md": card + b"\nThanks from us.\n", "photo.txt": b"x"})
    rollback(hub, tmp_path, "1.0.0")
    assert b"Thanks from us." in hub.read(MERGED, "README.md")
    assert b"# New words" not in hub.read(MERGED, "README.md")
    assert hub.read(MERGED, "photo.txt") == b"x"


def test_repos_that_the_version_did_not_have_are_left_and_told(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path, "1.0.0", {MERGED: WEIGHTS[MERGED]}), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0"), tmp_path)
    heads = {repo: hub.repo(repo).head("main") for repo in (ADAPTER, GGUF)}
    plan = plan_rollback(client(hub), INDEX, "1.0.0", "stable")
    assert plan.changes.left == (ADAPTER, GGUF) or set(plan.changes.left) == {ADAPTER, GGUF}
    go(hub, plan, tmp_path)
    assert {repo: hub.repo(repo).head("main") for repo in heads} == heads
    assert list(release_json(hub)["repos"]) == [MERGED]


def test_a_second_rollback_writes_nothing(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", NEW), tmp_path)
    rollback(hub, tmp_path, "1.0.0")
    written = len(hub.writes)
    assert plan_rollback(client(hub), INDEX, "1.0.0", "stable").nothing_to_do
    assert not rollback(hub, tmp_path, "1.0.0").wrote
    assert len(hub.writes) == written


def test_an_apply_does_not_undo_a_rollback(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", NEW), tmp_path)
    rollback(hub, tmp_path, "1.0.0")
    written = len(hub.writes)
    with pytest.raises(
        UsageError, match=r"1\.1\.0 was taken back: the channel stable was rolled back to 1\.0\.0"
    ) as no:
        planned(hub, desired(tmp_path, "1.1.0", NEW))
    assert "'version: 1.1.1'" in no.value.next
    assert "vf rollback 1.1.0" in no.value.next
    assert len(hub.writes) == written
    apply(hub, desired(tmp_path, "1.1.1", NEW), tmp_path)
    assert release_json(hub)["version"] == "1.1.1"


def test_a_version_stays_taken_back_over_several_rollbacks(hub: LocalHub, tmp_path: Path) -> None:
    """Also one that came to stable by promotion, and that the candidate channel still stands at."""
    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", NEW), tmp_path)
    newest = changed(NEW, MERGED, "notes.txt", b"newest")
    apply(hub, desired(tmp_path, "1.2.0", newest, channel="candidate"), tmp_path)
    promote(hub, tmp_path)
    rollback(hub, tmp_path, "1.1.0")
    rollback(hub, tmp_path, "1.0.0")
    for version, contents in (("1.1.0", NEW), ("1.2.0", newest)):
        with pytest.raises(UsageError, match="was taken back"):
            planned(hub, desired(tmp_path, version, contents))


def test_a_version_taken_back_comes_again_when_it_is_asked_for(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", NEW), tmp_path)
    rollback(hub, tmp_path, "1.0.0")
    rollback(hub, tmp_path, "1.1.0")
    assert hub.read(MERGED, "model.safetensors") == b"better weights"
    assert planned(hub, desired(tmp_path, "1.1.0", NEW)).nothing_to_do


def test_drift_after_a_rollback_is_mended_to_the_version_rolled_back_to(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", NEW), tmp_path)
    rollback(hub, tmp_path, "1.0.0")
    hub.commit_as_stranger(MERGED, {"model.safetensors": b"other"})
    assert rollback(hub, tmp_path, "1.0.0").wrote
    assert hub.read(MERGED, "model.safetensors") == b"merged weights"
    assert drift_of(client(hub), INDEX).drifted == []


def test_a_version_that_never_was_is_told_with_those_that_were(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    with pytest.raises(UsageError, match=r"no release 0\.9\.0") as unknown:
        plan_rollback(client(hub), INDEX, "0.9.0", "stable")
    assert "Released are: 1.0.0" in unknown.value.why


def test_a_commit_that_is_gone_stops_a_rollback_before_anything_is_written(hub: LocalHub, tmp_path: Path) -> None:
    import shutil

    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", NEW), tmp_path)
    shutil.rmtree(hub.repo(MERGED).path)
    hub.create_repo("models", MERGED)
    written = len(hub.writes)
    with pytest.raises(IntegrityError, match=r"1\.0\.0 cannot be restored"):
        plan_rollback(client(hub), INDEX, "1.0.0", "stable")
    assert len(hub.writes) == written
