"""Releases on the local hub, spoken to by the real client."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.localhub import Fault, LocalHub
from tests.release.lab import (
    ADAPTER,
    GGUF,
    INDEX,
    MERGED,
    WEIGHTS,
    apply,
    changed,
    check_exposed,
    check_whole,
    client,
    desired,
    end_state,
    journal,
    planned,
    release_json,
    tree_at,
)
from variantforge.errors import (
    GateFailed,
    HubError,
    IntegrityError,
    Interrupted,
    MovedHead,
    Refused,
    UsageError,
)
from variantforge.release.hub import Budget, Hub
from variantforge.release.planning import plan_release, plan_restore
from variantforge.release.transaction import release, resume

NEW_WEIGHTS = changed(WEIGHTS, MERGED, "model.safetensors", b"better merged weights")


def heads(hub: LocalHub) -> dict[str, str]:
    return {name: repo.head("main") for (_, name), repo in hub.repos.items()}


def restore(hub: LocalHub, version: str, folder: Path, channel: str = "stable") -> None:
    speaker = client(hub)
    release(plan_restore(speaker, INDEX, version, channel), speaker, journal(folder))  # type: ignore[arg-type]


def test_a_family_is_released_as_one(hub: LocalHub, tmp_path: Path) -> None:
    report = apply(hub, desired(tmp_path), tmp_path)
    check_exposed(hub)
    assert release_json(hub)["id"] == report.record.id
    assert hub.read(MERGED, "model.safetensors") == b"merged weights"
    assert report.wrote
    assert report.window_s > 0
    assert report.requests > 50
    (collection,) = hub.collections.values()
    assert [item["id"] for item in collection["items"]] == [MERGED, ADAPTER, GGUF]
    assert not collection["private"]


def test_a_plan_tells_what_will_be_written_and_writes_nothing(hub: LocalHub, tmp_path: Path) -> None:
    plan = planned(hub, desired(tmp_path))
    assert not hub.writes
    assert [change.action.word for change in plan.changes.repos] == ["create"] * 3
    assert plan.upload_bytes == sum(file.size_bytes for repo in plan.staged.values() for file in repo.files.values())
    apply(hub, desired(tmp_path), tmp_path)
    commits = [entry for entry in hub.writes if "/commit/" in entry.path]
    assert len(commits) == plan.commits == 7


def test_a_second_run_writes_nothing(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    before = len(hub.writes)
    assert planned(hub, desired(tmp_path)).nothing_to_do
    assert not apply(hub, desired(tmp_path), tmp_path).wrote
    assert len(hub.writes) == before


def test_a_new_version_commits_only_to_the_repo_that_changed(hub: LocalHub, tmp_path: Path) -> None:
    first = apply(hub, desired(tmp_path), tmp_path).record
    before = heads(hub)
    plan = planned(hub, desired(tmp_path, "1.1.0", NEW_WEIGHTS))
    assert {change.repo: change.action.word for change in plan.changes.repos} == {
        MERGED: "update",
        ADAPTER: "unchanged",
        GGUF: "unchanged",
    }
    second = apply(hub, desired(tmp_path, "1.1.0", NEW_WEIGHTS), tmp_path).record
    check_exposed(hub)
    after = heads(hub)
    assert {name for name in after if after[name] != before[name]} == {MERGED, INDEX}
    assert second.repos[GGUF] == first.repos[GGUF]
    assert hub.repo(GGUF).tags()["v1.1.0"] == hub.repo(GGUF).tags()["v1.0.0"] == first.repos[GGUF].commit
    assert second.repos[MERGED].since == "1.1.0"
    assert second.before == first.id


def test_a_changed_card_is_metadata_alone_and_uploads_no_weight(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    wanted = desired(tmp_path, "1.0.1", cards={MERGED: "# Better words"})
    action = next(change.action for change in planned(hub, wanted).changes.repos if change.repo == MERGED)
    assert action.word == "metadata"
    assert not any("/info/lfs/" in entry.path for entry in hub.log)
    apply(hub, wanted, tmp_path)
    check_exposed(hub)


def test_a_file_that_is_no_longer_wanted_goes_and_what_people_added_stays(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    hub.commit_as_stranger(MERGED, {"examples/hello.md": b"hello"})
    wanted = desired(tmp_path, "1.1.0", changed(WEIGHTS, MERGED, "notes.txt", None))
    (change,) = [change for change in planned(hub, wanted).changes.repos if change.repo == MERGED]
    assert change.foreign == ("examples/hello.md",)
    apply(hub, wanted, tmp_path)
    check_exposed(hub)
    assert "notes.txt" not in hub.repo(MERGED).files("main")
    assert hub.read(MERGED, "examples/hello.md") == b"hello"
    assert "notes.txt" in hub.repo(MERGED).files("v1.0.0")


def test_drift_is_told_by_file_and_author_and_mended_by_one_commit(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    pristine = tree_at(hub, MERGED, "main")
    spoilt = hub.read(MERGED, "README.md").replace(b"# acme/toys-code", b"# Buy my model")
    hub.commit_as_stranger(MERGED, {"README.md": spoilt, "notes.txt": None, "theirs.txt": b"mine"})
    before = heads(hub)
    plan = planned(hub, desired(tmp_path))
    (change,) = plan.changes.drifted
    assert change.repo == MERGED
    assert change.drift is not None
    assert (change.drift.files.changed, change.drift.files.missing) == (("README.md",), ("notes.txt",))
    assert [commit.author for commit in change.drift.by] == ["stranger"]
    assert change.foreign == ("theirs.txt",)
    assert not plan.nothing_to_do
    assert plan.commits == 1
    apply(hub, desired(tmp_path), tmp_path)
    check_exposed(hub)
    after = heads(hub)
    assert {name for name in after if after[name] != before[name]} == {MERGED}
    assert tree_at(hub, MERGED, "main") == pristine
    assert hub.read(MERGED, "theirs.txt") == b"mine"
    assert planned(hub, desired(tmp_path)).nothing_to_do


def test_a_lineage_that_was_taken_away_is_drift_too(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    hub.commit_as_stranger(MERGED, {"variantforge.json": None})
    hub.commit_as_stranger(GGUF, {"variantforge.json": b"[]"})
    assert {change.repo for change in planned(hub, desired(tmp_path)).changes.drifted} == {MERGED, GGUF}
    wanted = desired(tmp_path, "1.1.0", changed(WEIGHTS, MERGED, "notes.txt", None))
    apply(hub, wanted, tmp_path)
    check_exposed(hub)
    assert "notes.txt" not in hub.repo(MERGED).files("main")


def test_what_people_write_around_the_card_survives_releases_and_is_no_drift(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    for repo in (MERGED, INDEX):
        text = hub.read(repo, "README.md") + b"\n## How I use it\n"
        hub.commit_as_stranger(repo, {"README.md": text})
    assert planned(hub, desired(tmp_path)).nothing_to_do
    cards = {MERGED: "# Better words", INDEX: "# A better page"}
    apply(hub, desired(tmp_path, "1.1.0", cards=cards), tmp_path)
    check_exposed(hub)
    for repo, words in cards.items():
        text = hub.read(repo, "README.md").decode()
        assert words in text
        assert "## How I use it" in text


def test_a_spoilt_family_page_is_restored(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    page = hub.read(INDEX, "README.md")
    hub.commit_as_stranger(INDEX, {"README.md": b"nothing"})
    plan = planned(hub, desired(tmp_path))
    assert plan.changes.page == ("README.md",)
    assert plan.commits == 1
    apply(hub, desired(tmp_path), tmp_path)
    assert hub.read(INDEX, "README.md") == page.rstrip() + b"\n\nnothing\n"
    assert planned(hub, desired(tmp_path)).nothing_to_do


@pytest.mark.parametrize("spoilt", [None, b"[]", b'{"format": 1}', b"edited"])
def test_a_release_json_that_somebody_spoilt_is_put_back(hub: LocalHub, tmp_path: Path, spoilt: bytes | None) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    released = hub.read(INDEX, "release.json")
    if spoilt == b"edited":
        spoilt = released.replace(b'"gated": "no"', b'"gated": "auto"')
    hub.commit_as_stranger(INDEX, {"release.json": spoilt})
    plan = planned(hub, desired(tmp_path))
    assert plan.changes.record
    assert plan.commits == 1
    assert plan.record == plan.before
    apply(hub, desired(tmp_path), tmp_path)
    assert hub.read(INDEX, "release.json") == released
    assert planned(hub, desired(tmp_path)).nothing_to_do
    check_exposed(hub)


def test_the_release_json_of_another_index_repo_is_not_obeyed(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    hub.create_repo("models", "acme/copy")
    hub.commit_as_stranger("acme/copy", {"release.json": hub.read(INDEX, "release.json")})
    with pytest.raises(IntegrityError, match="is that of acme/toys"):
        resume(client(hub), "acme/copy", journal(tmp_path))


def test_a_file_that_is_stored_otherwise_is_the_same_file(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    rules = hub.read(MERGED, ".gitattributes") + b"notes.txt filter=lfs diff=lfs merge=lfs -text\n"
    hub.commit_as_stranger(MERGED, {".gitattributes": rules})
    for content in (b"spoilt", WEIGHTS[MERGED]["notes.txt"]):
        client(hub).commit(MERGED, "main", {"notes.txt": content}, message="x", parent=hub.repo(MERGED).head())
    assert hub.repo(MERGED).files()["notes.txt"].sha256
    assert planned(hub, desired(tmp_path)).nothing_to_do
    check_exposed(hub)


def test_settings_follow_the_file_without_a_new_version(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    wanted = replace(desired(tmp_path), gated="manual", visibility="private")
    told = {(setting.repo, setting.what) for setting in planned(hub, wanted).changes.settings}
    assert told == {(repo, what) for repo in (MERGED, ADAPTER, GGUF) for what in ("visibility", "gated")} | {
        (INDEX, "visibility")
    }
    apply(hub, wanted, tmp_path)
    check_exposed(hub)
    assert hub.repo(MERGED).gated == "manual"
    assert release_json(hub)["gated"] == "manual"
    assert planned(hub, wanted).nothing_to_do
    assert len(hub.repo(MERGED).commits()) == 2


def test_visibility_that_somebody_changed_is_told_and_put_back(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    hub.repo(GGUF).private = True
    (setting,) = planned(hub, desired(tmp_path)).changes.settings
    assert (setting.repo, setting.there, setting.wanted) == (GGUF, "private", "public")
    apply(hub, desired(tmp_path), tmp_path)
    check_exposed(hub)


def test_a_version_means_one_content_for_ever(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.0.1", NEW_WEIGHTS), tmp_path)
    for version, contents in (("1.0.1", WEIGHTS), ("1.0.0", NEW_WEIGHTS)):
        with pytest.raises(UsageError, match=f"version {version} is released already") as caught:
            planned(hub, desired(tmp_path / "other", version, contents))
        assert "version: 1.0.2" in caught.value.next
        assert MERGED in caught.value.why


def test_a_tag_that_somebody_else_has_set_is_never_moved(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    hub.repo(MERGED).git("tag", "v1.1.0", hub.repo(MERGED).head())
    with pytest.raises(UsageError, match=r"tag v1\.1\.0 is there already in acme/toys-code"):
        planned(hub, desired(tmp_path, "1.1.0", NEW_WEIGHTS))
    hub.repo(MERGED).git("tag", "-f", "v1.0.0", hub.repo(MERGED).head())
    plan = planned(hub, desired(tmp_path))
    assert [(moved.repo, moved.tag) for moved in plan.changes.moved_tags] == [(MERGED, "v1.0.0")]
    assert plan.nothing_to_do


def test_a_repo_of_somebody_else_is_refused_and_adopted_on_request(hub: LocalHub, tmp_path: Path) -> None:
    hub.create_repo("models", MERGED)
    hub.commit_as_stranger(MERGED, {"README.md": b"# My own words\n", "model.safetensors": b"old", "x.txt": b"x"})
    with pytest.raises(Refused) as caught:
        planned(hub, desired(tmp_path))
    assert "holds files, and no variantforge.json" in caught.value.why
    assert f"vf import --adopt {MERGED}" in caught.value.next
    assert not hub.writes
    speaker = client(hub)
    release(plan_release(desired(tmp_path), speaker, adopt={MERGED}), speaker, journal(tmp_path))
    check_exposed(hub)
    assert hub.read(MERGED, "x.txt") == b"x"
    assert "# My own words" in hub.read(MERGED, "README.md").decode()


def test_a_repo_of_another_family_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    with pytest.raises(Refused) as caught:
        planned(hub, replace(desired(tmp_path), family="others"))
    assert "belongs to the family 'toys'" not in caught.value.why  # the release already says which repos are whose
    assert "holds the releases of the family 'toys'" in caught.value.why


def test_a_refused_repo_keeps_what_was_released_before(hub: LocalHub, tmp_path: Path) -> None:
    first = apply(hub, desired(tmp_path), tmp_path).record
    rest = {repo: files for repo, files in NEW_WEIGHTS.items() if repo != GGUF}
    wanted = desired(tmp_path, "1.1.0", rest, refused={GGUF: "Q4_K_M lost too much", "acme/toys-never": "no good"})
    before = hub.repo(GGUF).head()
    record = apply(hub, wanted, tmp_path).record
    check_exposed(hub)
    assert record.repos[GGUF] == replace(first.repos[GGUF], refused="Q4_K_M lost too much")
    assert record.withheld == {"acme/toys-never": "no good"}
    assert hub.repo(GGUF).head() == before
    assert planned(hub, wanted).nothing_to_do


def test_nothing_is_released_when_everything_was_refused(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match="refused every repo"):
        planned(hub, desired(tmp_path, contents={}, refused={MERGED: "no good"}))


def test_a_gated_repo_is_never_open_to_all(hub: LocalHub, tmp_path: Path) -> None:
    seen: set[tuple[bool, object]] = set()
    hub.before = lambda number: seen.update(
        (it.private, it.gated) for (_, name), it in hub.repos.items() if name != INDEX
    )
    apply(hub, desired(tmp_path, gated="manual"), tmp_path)
    check_exposed(hub)
    assert seen == {(True, False), (True, "manual"), (False, "manual")}


def test_a_record_that_could_not_be_read_back_is_never_written(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"release\.json that would be written cannot be used"):
        planned(hub, desired(tmp_path, refused={"acme/toys-never": "x" * 5000}))


def test_nothing_can_be_seen_before_the_release_is_decided(hub: LocalHub, tmp_path: Path) -> None:
    def look(number: int) -> None:
        # Requests run side by side: what is exposed is looked at first, for the decision is never taken back.
        if not all(repo.private and len(repo.commits()) == 1 for repo in list(hub.repos.values())):
            assert "release.json" in hub.repo(INDEX).files()

    hub.before = look
    apply(hub, desired(tmp_path), tmp_path)
    check_exposed(hub)


def test_wrong_bytes_are_found_before_anything_is_decided(hub: LocalHub, tmp_path: Path) -> None:
    hub.faults.append(Fault("GET */resolve/*/notes.txt", "wrong_bytes"))
    with pytest.raises(IntegrityError, match=r"notes\.txt"):
        apply(hub, desired(tmp_path), tmp_path)
    assert ("models", INDEX) not in hub.repos
    apply(hub, desired(tmp_path), tmp_path)
    check_exposed(hub)


def test_bytes_damaged_on_the_way_to_the_branch_are_never_committed(hub: LocalHub, tmp_path: Path) -> None:
    fault = Fault("GET */resolve/*/notes.txt", "wrong_bytes", nth=2)  # the first one was read back, this is copied
    hub.faults.append(fault)
    with pytest.raises(IntegrityError, match=r"notes\.txt"):
        apply(hub, desired(tmp_path), tmp_path)
    assert fault.fired == 1
    assert "notes.txt" not in hub.repo(MERGED).files()
    apply(hub, desired(tmp_path), tmp_path)
    check_exposed(hub)


@pytest.mark.parametrize("path", ["README.md", "variantforge.json"])
def test_damaged_bytes_are_never_taken_for_what_people_wrote(hub: LocalHub, tmp_path: Path, path: str) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    hub.commit_as_stranger(MERGED, {"README.md": hub.read(MERGED, "README.md") + b"\nThanks!\n"})
    hub.faults.append(Fault(f"GET /{MERGED}/resolve/*/{path}", "wrong_bytes"))
    with pytest.raises(IntegrityError, match=f"other bytes for {path}"):
        apply(hub, desired(tmp_path, "1.1.0", cards={MERGED: "# Better words"}), tmp_path)
    assert hub.read(MERGED, "README.md").endswith(b"\nThanks!\n")


def test_a_stop_before_the_decision_leaves_nothing_to_see(hub: LocalHub, tmp_path: Path) -> None:
    stop, speaker = threading.Event(), client(hub)
    stop.set()
    with pytest.raises(Interrupted):
        release(plan_release(desired(tmp_path), speaker), speaker, journal(tmp_path), stop=stop)
    assert not hub.repos
    apply(hub, desired(tmp_path), tmp_path)
    check_exposed(hub)


def test_a_stranger_who_writes_during_the_release_is_merged(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    hub.faults.append(Fault(f"POST /api/models/{MERGED}/commit/main", "stale_head"))
    hub.faults.append(Fault(f"POST /api/models/{INDEX}/commit/main", "stale_head"))
    apply(hub, desired(tmp_path, "1.1.0", NEW_WEIGHTS), tmp_path)
    check_exposed(hub)
    assert "stranger.txt" in hub.repo(MERGED).files()
    assert "stranger.txt" in hub.repo(INDEX).files()


def test_of_two_releases_at_once_one_wins_and_the_other_says_why(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    loser, speaker = desired(tmp_path, "1.1.0", NEW_WEIGHTS), client(hub)
    plan = plan_release(loser, speaker)
    other = changed(WEIGHTS, GGUF, "toys-code-Q8_0.gguf", b"eight better bits")
    apply(hub, desired(tmp_path / "other", "1.2.0", other), tmp_path / "other")
    before = heads(hub)
    with pytest.raises(MovedHead, match=r"another release of toys was first: 1\.2\.0 by alice"):
        release(plan, speaker, journal(tmp_path))
    check_exposed(hub)
    assert heads(hub) == before
    assert not [branch for branch in hub.repo(MERGED).branches() if branch != "main"]


class Raced(Hub):
    """A client before whose commit to one repo another release is made."""

    at = INDEX
    other: Callable[[], object] | None = None

    def commit(self, repo: str, branch: str, *args: Any, **kwargs: Any) -> str:
        if repo == self.at and self.other:
            race, self.other = self.other, None
            race()
        return super().commit(repo, branch, *args, **kwargs)


def test_a_race_that_is_lost_at_the_last_moment_is_lost_all_the_same(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    speaker = Raced(hub.endpoint, hub.token)
    plan = plan_release(desired(tmp_path, "1.1.0", NEW_WEIGHTS), speaker)
    other = desired(tmp_path / "other", "1.2.0", changed(WEIGHTS, GGUF, "toys-code-Q8_0.gguf", b"eight better bits"))
    speaker.other = lambda: apply(hub, other, tmp_path / "other")
    with pytest.raises(MovedHead, match=r"1\.2\.0 by alice"):
        release(plan, speaker, journal(tmp_path))
    check_exposed(hub)
    assert [entry.status for entry in hub.log].count(412) == 1
    assert release_json(hub)["version"] == "1.2.0"


def test_a_staging_branch_that_the_winner_took_away_is_told_as_a_lost_race(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    speaker = Raced(hub.endpoint, hub.token)
    plan = plan_release(desired(tmp_path, "1.1.0", NEW_WEIGHTS), speaker)
    other = desired(tmp_path / "other", "1.2.0", changed(WEIGHTS, GGUF, "toys-code-Q8_0.gguf", b"eight better bits"))
    speaker.at, speaker.other = MERGED, lambda: apply(hub, other, tmp_path / "other")
    with pytest.raises(MovedHead, match=r"1\.2\.0 by alice"):
        release(plan, speaker, journal(tmp_path))
    check_exposed(hub)


def test_the_hour_has_room_for_all_branches_before_the_first_one_moves(hub: LocalHub, tmp_path: Path) -> None:
    waited: list[bool] = []

    def tell(text: str) -> None:
        assert "128 commits an hour" in text
        waited.append(("models", INDEX) in hub.repos)

    now = time.time()
    clock = [now]
    full = Budget([now - 1800] * 122, clock=lambda: clock[0])
    later = lambda seconds: clock.__setitem__(0, clock[0] + seconds)  # noqa: E731
    speaker = Hub(hub.endpoint, hub.token, tell, budget=full, pause=later)
    release(plan_release(desired(tmp_path), speaker), speaker, journal(tmp_path))
    check_exposed(hub)
    assert waited[0] is False
    assert clock[0] - now >= 1800


def test_two_machines_with_the_same_wish_make_one_release(hub: LocalHub, tmp_path: Path) -> None:
    speaker = client(hub)
    plan = plan_release(desired(tmp_path), speaker)
    first = apply(hub, desired(tmp_path / "other"), tmp_path / "other").record
    report = release(plan, speaker, journal(tmp_path))
    check_exposed(hub)
    assert report.record == first
    assert len(hub.repo(MERGED).commits()) == len(hub.repo(INDEX).commits()) == 2


def test_a_decided_release_is_brought_to_its_end_from_a_machine_that_has_nothing(hub: LocalHub, tmp_path: Path) -> None:
    hub.faults.append(Fault("POST */toys-code*/commit/main", "403", nth=2, times=9))
    with pytest.raises(HubError):
        apply(hub, desired(tmp_path), tmp_path)
    assert release_json(hub)["version"] == "1.0.0"
    hub.faults.clear()
    shutil.rmtree(tmp_path)
    report = resume(client(hub), INDEX, journal(tmp_path / "elsewhere"))
    check_exposed(hub)
    assert report.window_s > 0
    writes = len(hub.writes)
    assert resume(client(hub), INDEX, journal(tmp_path / "elsewhere")).window_s == 0
    assert len(hub.writes) == writes


def test_a_release_interrupted_at_its_very_end_is_tidied_by_the_next_run(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    wanted = desired(tmp_path, "1.1.0", NEW_WEIGHTS)
    hub.faults.append(Fault(f"DELETE */{MERGED}/branch/*", "403"))
    with pytest.raises(HubError):
        apply(hub, wanted, tmp_path)
    assert [branch for branch in hub.repo(MERGED).branches() if branch.startswith("vf/")]
    plan = planned(hub, wanted)
    assert (plan.changes.untidied, plan.nothing_to_do, plan.commits) == ((MERGED,), False, 0)
    apply(hub, wanted, tmp_path)
    check_exposed(hub)
    assert planned(hub, wanted).nothing_to_do


def test_an_interrupted_release_that_is_overtaken_still_gets_its_tags(hub: LocalHub, tmp_path: Path) -> None:
    hub.faults.append(Fault("POST */toys-code*/commit/main", "403", nth=2, times=9))
    with pytest.raises(HubError):
        apply(hub, desired(tmp_path), tmp_path)
    hub.faults.clear()
    apply(hub, desired(tmp_path, "1.1.0", NEW_WEIGHTS), tmp_path)
    check_exposed(hub)
    assert {"v1.0.0", "v1.1.0"} <= set(hub.repo(INDEX).tags())
    restore(hub, "1.0.0", tmp_path)
    check_exposed(hub)


def test_a_rollback_restores_every_repo_and_keeps_people_words(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path, cards={INDEX: "# The first page"}), tmp_path)
    first = {repo: tree_at(hub, repo, "main") for repo in (MERGED, ADAPTER, GGUF)}
    wanted = desired(tmp_path, "1.1.0", changed(NEW_WEIGHTS, MERGED, "extra.txt", b"extra"))
    apply(hub, wanted, tmp_path)
    for repo in (MERGED, INDEX):
        hub.commit_as_stranger(repo, {"README.md": hub.read(repo, "README.md") + b"\nThanks!\n"})
    history = hub.repo(MERGED).commits()
    shutil.rmtree(tmp_path / "1.0.0")
    restore(hub, "1.0.0", tmp_path)
    check_exposed(hub)
    assert {repo: tree_at(hub, repo, "main") for repo in first} == first
    assert "extra.txt" not in hub.repo(MERGED).files()
    assert hub.repo(MERGED).commits()[-len(history) :] == history
    assert (release_json(hub)["version"], release_json(hub)["supersedes"]) == ("1.0.0", "1.1.0")
    for repo in (MERGED, INDEX):
        assert b"Thanks!" in hub.read(repo, "README.md")
    assert b"# The first page" in hub.read(INDEX, "README.md")


def test_a_rollback_opens_nothing_that_was_closed_since(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", NEW_WEIGHTS, visibility="private", gated="auto"), tmp_path)
    restore(hub, "1.0.0", tmp_path)
    check_exposed(hub)
    assert (release_json(hub)["visibility"], release_json(hub)["gated"]) == ("private", "auto")
    assert hub.repo(MERGED).private


def test_after_a_rollback_the_newer_version_comes_back_without_an_upload(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    wanted = desired(tmp_path, "1.1.0", NEW_WEIGHTS)
    second = apply(hub, wanted, tmp_path).record
    restore(hub, "1.0.0", tmp_path)
    plan = plan_restore(client(hub), INDEX, "1.1.0", "stable")
    assert {change.repo: change.action.word for change in plan.changes.repos}[MERGED] == "restore"
    assert (plan.upload_bytes, dict(plan.staged)) == (0, {})
    restore(hub, "1.1.0", tmp_path)
    check_exposed(hub)
    assert release_json(hub)["repos"][MERGED]["commit"] == second.repos[MERGED].commit
    assert planned(hub, wanted).nothing_to_do


def test_a_candidate_is_released_beside_stable_and_promoted(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    hub.commit_as_stranger(ADAPTER, {"theirs.txt": b"mine"})
    before = heads(hub)
    wanted = replace(desired(tmp_path, "1.1.0", NEW_WEIGHTS), channel="candidate")
    apply(hub, wanted, tmp_path)
    check_exposed(hub, "candidate")
    assert heads(hub) == before
    assert "theirs.txt" in hub.repo(ADAPTER).files("candidate")
    assert planned(hub, wanted).nothing_to_do
    restore(hub, "1.1.0", tmp_path)
    check_exposed(hub)
    check_exposed(hub, "candidate")
    assert hub.read(MERGED, "model.safetensors") == b"better merged weights"
    assert hub.repo(MERGED).tags()["v1.1.0"] == release_json(hub)["repos"][MERGED]["commit"]
    assert planned(hub, replace(wanted, channel="stable")).nothing_to_do


def test_a_first_release_may_be_a_candidate(hub: LocalHub, tmp_path: Path) -> None:
    wanted = replace(desired(tmp_path), channel="candidate")
    plan = planned(hub, wanted)
    apply(hub, wanted, tmp_path)
    check_exposed(hub, "candidate")
    assert len([entry for entry in hub.writes if "/commit/" in entry.path]) == plan.commits == 4
    assert "release.json" not in hub.repo(INDEX).files("main")
    assert hub.repo(MERGED).head("candidate") == release_json(hub, "candidate")["repos"][MERGED]["commit"]


def test_a_version_that_was_never_released_cannot_be_restored(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    with pytest.raises(UsageError, match=r"has no release 0\.9\.0") as caught:
        restore(hub, "0.9.0", tmp_path)
    assert "1.0.0" in caught.value.why


def test_a_tag_that_somebody_moved_restores_nothing_else(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", NEW_WEIGHTS), tmp_path)
    hub.repo(INDEX).git("tag", "-f", "v1.0.0", hub.repo(INDEX).head())
    with pytest.raises(UsageError, match=r"tag v1\.0\.0 of acme/toys points at no release"):
        restore(hub, "1.0.0", tmp_path)


def test_a_repo_that_was_deleted_is_made_anew(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    del hub.repos["models", GGUF]
    shutil.rmtree(hub.data / "models" / f"{GGUF}.git")
    assert {change.repo: change.action.word for change in planned(hub, desired(tmp_path)).changes.repos} == {
        MERGED: "unchanged",
        ADAPTER: "unchanged",
        GGUF: "create",
    }
    apply(hub, desired(tmp_path), tmp_path)
    check_exposed(hub)
    assert planned(hub, desired(tmp_path)).nothing_to_do


@pytest.mark.parametrize("nth", [1, 4, 7])  # staged, decided, exposed
def test_a_lost_answer_makes_no_second_commit(hub: LocalHub, tmp_path: Path, nth: int) -> None:
    fault = Fault("POST */commit/*", "reply_lost", nth=nth)
    hub.faults.append(fault)
    apply(hub, desired(tmp_path), tmp_path)
    assert fault.fired == 1
    check_exposed(hub)
    for repo in (MERGED, ADAPTER, GGUF, INDEX):
        assert len(hub.repo(repo).commits()) == 2
        assert len(hub.repo(repo).commits("v1.0.0")) == 2


def test_the_end_state_helper_sees_a_difference(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    before = end_state(hub)
    hub.commit_as_stranger(MERGED, {"x": b"x"})
    assert end_state(hub) != before
    check_whole(hub)


@pytest.mark.slow
def test_settings_and_tokenizer_are_loaded_from_what_the_hub_serves(
    hub: LocalHub, tmp_path: Path, tiny_llama: Path
) -> None:
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors")
    files = {name: (tiny_llama / name).read_bytes() for name in names}
    broken = desired(tmp_path / "broken", contents={MERGED: {**files, "tokenizer.json": b'{"version": "1.0"}'}})
    with pytest.raises(IntegrityError, match=r"cannot be loaded from the Hub: AutoTokenizer"):
        apply(hub, broken, tmp_path)
    assert ("models", INDEX) not in hub.repos
    apply(hub, desired(tmp_path, contents={MERGED: files}), tmp_path)
    check_exposed(hub)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["429", "500", "503", "refused", "reply_lost", "timeout", "truncated", "403"])
def test_a_fault_at_any_request_is_outlived_or_told_and_the_next_run_ends_equal(
    hub: LocalHub, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    apply(hub, desired(tmp_path), tmp_path)
    end, requests = end_state(hub), len(hub.log)
    for nth in range(1 + len(kind), requests, 11):  # ``make drill`` disturbs each
        hub.reset()
        hub.faults.append(Fault("*", kind, nth=nth, hang_s=0.0))
        store = tmp_path / f"{nth}"
        try:
            apply(hub, desired(tmp_path), store)
        except (HubError, IntegrityError):
            check_whole(hub)
            apply(hub, desired(tmp_path), store)
        check_exposed(hub)
        assert end_state(hub) == end, f"{kind} at request {nth}"


def test_a_release_tells_its_lock_and_its_tools_and_neither_alone_makes_one(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path, lock="c" * 64, tools={"trl": "1.16.0"}), tmp_path)
    written = len(hub.writes)
    assert release_json(hub)["lock"] == "c" * 64
    assert release_json(hub)["tools"] == {"trl": "1.16.0"}
    apply(hub, desired(tmp_path, lock="d" * 64, tools={"trl": "1.17.0"}), tmp_path)
    assert len(hub.writes) == written
