"""Drift on the local hub: what somebody changed is named, with who did it; what is no drift is told as such."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.localhub import LocalHub
from tests.localhub.hub import STRANGER
from tests.release.lab import (
    ADAPTER,
    GGUF,
    INDEX,
    MERGED,
    WEIGHTS,
    apply,
    changed,
    client,
    desired,
    journal,
    release_json,
)
from variantforge.errors import UsageError
from variantforge.release.commit import commit_record
from variantforge.release.drift import DriftReport, drift_of
from variantforge.release.planning import plan_release
from variantforge.release.retire import plan_retirement, retire
from variantforge.release.stage import stage
from variantforge.release.work import Work


@pytest.fixture
def released(hub: LocalHub, tmp_path: Path) -> LocalHub:
    apply(hub, desired(tmp_path), tmp_path)
    return hub


def drift(hub: LocalHub) -> DriftReport:
    return drift_of(client(hub), INDEX)


def kinds(report: DriftReport) -> list[tuple[str, str]]:
    return sorted((finding.kind, finding.repo) for finding in report.findings)


def test_nothing_has_drifted_after_a_release(released: LocalHub) -> None:
    before = len(released.writes)
    assert kinds(drift(released)) == []
    assert len(released.writes) == before


def test_an_edited_card_and_a_deleted_file_are_named_with_who_did_it(released: LocalHub) -> None:
    card = released.read(MERGED, "README.md")
    released.commit_as_stranger(MERGED, {"README.md": card.replace(b"# acme", b"# best of acme")})
    released.commit_as_stranger(MERGED, {"model.safetensors": None})
    card, file = sorted(drift(released).findings, key=lambda finding: finding.kind, reverse=True)
    assert (card.kind, card.repo, card.paths, card.who) == ("edited_card", MERGED, ("README.md",), STRANGER)
    assert (file.kind, file.repo, file.paths, file.who) == ("deleted_file", MERGED, ("model.safetensors",), STRANGER)
    assert card.drift
    assert file.drift
    assert card.since
    assert card.next.startswith("vf apply")


def test_apply_mends_what_drifted(released: LocalHub, tmp_path: Path) -> None:
    released.commit_as_stranger(MERGED, {"model.safetensors": b"other", "notes.txt": None})
    assert kinds(drift(released)) == [("changed_weights", MERGED), ("deleted_file", MERGED)]
    apply(released, desired(tmp_path), tmp_path)
    assert drift(released).drifted == []


def test_each_change_is_laid_at_the_door_of_who_made_it(released: LocalHub) -> None:
    """alice edits the card, then a stranger adds words of his own to it: the edit is still hers."""
    card = released.read(MERGED, "README.md")
    edited = card.replace(b"# acme", b"# best of acme")
    repo = released.repo(MERGED)
    repo.commit("refs/heads/main", {"README.md": edited}, released.signature("alice"), "Better words")
    released.commit_as_stranger(MERGED, {"README.md": edited + b"\nThank you!\n", "notes.txt": b"mine"})
    found = {finding.kind: finding.who for finding in drift(released).findings}
    assert found == {"edited_card": "alice", "changed_file": STRANGER}


def test_a_change_under_many_later_commits_is_told_without_a_name(released: LocalHub) -> None:
    released.commit_as_stranger(MERGED, {"notes.txt": b"mine"})
    for number in range(25):
        released.commit_as_stranger(MERGED, {"photo.txt": str(number).encode()})
    found = next(finding for finding in drift(released).findings if finding.drift)
    assert (found.kind, found.who) == ("changed_file", "")


def test_words_of_people_foreign_files_and_their_commits_are_no_drift(released: LocalHub) -> None:
    card = released.read(ADAPTER, "README.md")
    released.commit_as_stranger(ADAPTER, {"README.md": card + b"\nWe like it.\n", "photo.txt": b"x"})
    report = drift(released)
    assert kinds(report) == [("foreign_file", ADAPTER), ("moved_branch", ADAPTER), ("people_text", ADAPTER)]
    assert not report.drifted
    assert report.told[-1].who == STRANGER or any(finding.who == STRANGER for finding in report.told)


def test_changed_settings_and_moved_tags_are_drift(released: LocalHub) -> None:
    released.repo(MERGED).private = True
    released.repo(GGUF).gated = "auto"
    store = released.repo(ADAPTER).store
    store.set_ref("refs/tags/v1.0.0", released.repo(ADAPTER).commits("main")[-1].oid)
    first = released.repo(INDEX).commits("main")[-1].oid
    released.repo(INDEX).store.set_ref("refs/tags/v1.0.0", first)
    found = [("gated", GGUF), ("moved_tag", INDEX), ("moved_tag", ADAPTER), ("visibility", MERGED)]
    assert kinds(drift(released)) == sorted(found)


def test_a_missing_repo_a_missing_tag_and_a_lost_commit_are_drift(released: LocalHub) -> None:
    del released.repos["models", ADAPTER]
    released.repo(GGUF).store.delete_ref("refs/tags/v1.0.0")
    released.repo(INDEX).store.delete_ref("refs/tags/v1.0.0")
    shutil.rmtree(released.repo(MERGED).path)
    fresh = released.create_repo("models", MERGED)
    fresh.commit("refs/heads/main", {"a.txt": b"a"}, released.signature("alice"), "Anew")
    found = kinds(drift(released))
    assert ("missing_repo", ADAPTER) in found
    assert ("missing_tag", GGUF) in found
    assert ("missing_tag", INDEX) in found
    assert ("lost_commit", MERGED) in found


def test_an_edited_release_json_is_drift_and_apply_puts_it_back(released: LocalHub, tmp_path: Path) -> None:
    record = release_json(released)
    record["repos"][MERGED]["commit"] = record["repos"][ADAPTER]["commit"]
    released.commit_as_stranger(INDEX, {"release.json": json.dumps(record).encode()})
    (found,) = drift(released).findings
    assert (found.kind, found.who) == ("record_edited", STRANGER)
    assert MERGED in found.what
    apply(released, desired(tmp_path), tmp_path)
    assert drift(released).drifted == []


@pytest.mark.parametrize(("content", "kind"), [(b"{", "record_unreadable"), (None, "record_deleted")])
def test_a_spoilt_release_json_hides_no_other_difference(released: LocalHub, content: bytes | None, kind: str) -> None:
    released.commit_as_stranger(INDEX, {"release.json": content, "README.md": None})
    released.commit_as_stranger(MERGED, {"notes.txt": None})
    assert kinds(drift(released)) == [("deleted_file", INDEX), ("deleted_file", MERGED), (kind, INDEX)]


def test_the_collection_is_compared(released: LocalHub) -> None:
    (collection,) = released.collections.values()
    items = collection["items"]
    collection["description"] = "Bigger things"
    items[0], items[1] = items[1], items[0]
    items[0]["note"] = {"text": "bought"}
    dropped = items.pop()
    released.create_repo("models", "acme/other")
    items.append({"_id": "0" * 24, "type": "model", "id": "acme/other"})
    found = kinds(drift(released))
    assert ("collection_description", "") in found
    assert ("collection_order", "") in found
    assert ("collection_item_note", items[0]["id"]) in found
    assert ("collection_item_missing", dropped["id"]) in found
    assert ("collection_item_extra", "") in found


def test_a_collection_that_was_taken_away_is_drift(released: LocalHub) -> None:
    released.collections.clear()
    assert kinds(drift(released)) == [("collection_missing", "")]


def test_a_collection_under_another_title_is_found_again(released: LocalHub) -> None:
    (collection,) = released.collections.values()
    collection["title"] = "Playthings"
    (found,) = drift(released).findings
    assert (found.kind, "'Toys' is called 'Playthings' now" in found.what) == ("collection_title", True)


def test_words_of_people_on_the_page_are_no_drift(released: LocalHub) -> None:
    page = released.read(INDEX, "README.md")
    released.commit_as_stranger(INDEX, {"README.md": page + b"\nWe like them.\n"})
    assert kinds(drift(released)) == [("moved_branch", INDEX), ("people_text", INDEX)]


def test_a_retired_repo_is_no_drift(released: LocalHub, tmp_path: Path) -> None:
    hub = client(released)
    retire(plan_retirement(hub, ADAPTER, MERGED), hub)
    report = drift(released)
    assert kinds(report) == [("retired", ADAPTER)]
    assert not report.drifted
    assert plan_release(desired(tmp_path), hub).nothing_to_do


def test_a_release_that_was_begun_is_told(released: LocalHub, tmp_path: Path) -> None:
    hub = client(released)
    plan = plan_release(desired(tmp_path, "1.1.0", changed(WEIGHTS, MERGED, "notes.txt", b"new")), hub)
    stage(Work(hub, journal(tmp_path), plan.snapshots), plan)
    assert kinds(drift(released)) == [("staging_branch", MERGED)]


def test_a_release_that_was_decided_and_not_brought_to_its_end_is_drift(released: LocalHub, tmp_path: Path) -> None:
    hub = client(released)
    wanted = desired(tmp_path, "1.1.0", changed(WEIGHTS, MERGED, "notes.txt", b"new"))
    plan = plan_release(wanted, hub)
    work = Work(hub, journal(tmp_path), plan.snapshots)
    (oid,) = stage(work, plan).values()
    moved = {**plan.record.repos, MERGED: replace(plan.record.repos[MERGED], commit=oid)}
    commit_record(work, plan, replace(plan.record, repos=moved))
    found = kinds(drift(released))
    assert ("unfinished_release", MERGED) in found
    assert ("missing_tag", ADAPTER) in found
    apply(released, wanted, tmp_path)
    assert drift(released).drifted == []


def test_where_nothing_was_released_there_is_nothing_to_compare(released: LocalHub) -> None:
    with pytest.raises(UsageError, match="nothing was released on the channel candidate"):
        drift_of(client(released), INDEX, "candidate")
    with pytest.raises(UsageError, match="there is no acme/nowhere"):
        drift_of(client(released), "acme/nowhere")


def test_a_stranger_cannot_write_into_the_summary(released: LocalHub) -> None:
    repo = released.repo(MERGED)
    title = "x | [click](https://evil.example) <img src=x>"
    repo.commit("refs/heads/main", {"notes.txt": b"a", "a`|b.txt": b"b"}, released.signature("a|b"), title)
    repo.commit("refs/heads/main", {"c.txt": b"a"}, released.signature("a|b"), title)
    text = drift(released).markdown()
    assert "<img" not in text
    assert "[click](" not in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert len([at for at in range(len(line)) if line[at] == "|" and line[at - 1 : at] != "\\"]) == 7


def test_the_document_has_its_fields(released: LocalHub) -> None:
    released.commit_as_stranger(MERGED, {"notes.txt": None})
    document = drift(released).document
    assert {name: document[name] for name in ("index", "family", "channel", "version", "drift", "counts")} == {
        "index": INDEX,
        "family": "toys",
        "channel": "stable",
        "version": "1.0.0",
        "drift": True,
        "counts": {"drift": 1, "info": 0},
    }
    assert document["findings"][0].keys() == {"kind", "drift", "repo", "what", "paths", "who", "since", "next"}
