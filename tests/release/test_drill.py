"""The drill itself: that it sees what it is there to see; and a sample of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks.drill import faults, toys
from benchmarks.drill.cases import Bench, Case, Kill
from benchmarks.drill.families import Tiny
from benchmarks.drill.points import Point, turns
from benchmarks.drill.story import Story, play
from benchmarks.drill.watch import Watch

from tests.localhub import LocalHub
from tests.release import lab
from variantforge.release.hub import Hub

STAGED = Point(f"POST /api/models/{lab.MERGED}/commit/vf%2F*", 1, "")
EXPOSED = Point(f"POST /api/models/{lab.MERGED}/commit/main", 1, "")


@pytest.fixture
def bench(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time", __import__("time"))  # put back what the drill replaces
    toys.forget()
    yield Bench(hub, tmp_path)
    toys.forget()
    hub.before = hub.after = None


def watched(hub: LocalHub, folder: Path) -> Watch:
    lab.apply(hub, toys.first(folder), folder)
    watch = Watch(hub, toys.REPOS)
    assert watch.look() == []
    return watch


def test_a_main_branch_that_is_neither_old_nor_new_is_seen(hub: LocalHub, tmp_path: Path) -> None:
    watch = watched(hub, tmp_path)
    hub.commit_as_stranger(lab.MERGED, {"theirs.txt": b"people may do that"})
    assert watch.look() == []
    hub.commit_as_stranger(lab.MERGED, {"model.safetensors": b"half of a release"})
    assert watch.look() == [f"main of {lab.MERGED} holds neither the old nor a decided tree"]


def test_what_can_be_seen_too_early_is_seen(hub: LocalHub, tmp_path: Path) -> None:
    watch = Watch(hub, toys.REPOS)
    hub.create_repo("models", lab.MERGED)
    assert watch.look() == [f"{lab.MERGED} is public and nothing was decided"]
    hub.repo(lab.MERGED).private = True
    hub.repo(lab.MERGED).git("tag", "v1.0.0", hub.repo(lab.MERGED).head())
    assert watch.look() == [f"{lab.MERGED} has v1.0.0 of a release that was not decided"]


def test_a_tag_elsewhere_and_a_collection_of_hidden_repos_are_seen(hub: LocalHub, tmp_path: Path) -> None:
    watch = watched(hub, tmp_path)
    hub.repo(lab.GGUF).git("tag", "-f", "v1.0.0", hub.repo(lab.GGUF).head())
    hub.repo(lab.ADAPTER).private = True
    told = " | ".join(watch.look())
    assert f"v1.0.0 of {lab.GGUF} is not the released commit" in told
    assert f"the collection lists {lab.ADAPTER}, which nobody can see" in told


def test_a_case_that_goes_well_has_no_problems(bench: Bench) -> None:
    result = bench.try_case(Case("reply_lost", "second", faults=((EXPOSED, "reply_lost", False),)))
    assert (result.told, result.fired, result.problems) == ("done", 1, [])
    assert result.looks > 5


def test_a_release_that_makes_two_commits_of_one_is_found_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.undisturbed("second", "lfs")
    whole = Hub.commit

    def in_halves(hub: Hub, repo: str, branch: str, files: dict[str, Any], *, parent: str, **words: Any) -> str:
        if (repo, branch) == (lab.MERGED, "main"):
            first = {path: files[path] for path in files if path.endswith(".safetensors")}
            files = {path: files[path] for path in files if path not in first}
            parent = whole(hub, repo, branch, first, message="Weights", parent=parent)
        return whole(hub, repo, branch, files, parent=parent, **words)

    monkeypatch.setattr(Hub, "commit", in_halves)
    told = " | ".join(bench.try_case(Case("503", "second", faults=((STAGED, "503", False),))).problems)
    assert f"main of {lab.MERGED} holds neither the old nor a decided tree" in told
    assert f"{lab.MERGED} ends otherwise" in told  # one commit too many


def test_a_release_that_shows_repos_before_it_is_decided_is_found_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.undisturbed("first", "lfs")
    create = Hub.create_repo
    monkeypatch.setattr(Hub, "create_repo", lambda hub, repo, private: create(hub, repo, private=False))
    told = bench.try_case(Case("503", "first", faults=((STAGED, "503", False),))).problems
    assert any("is public and nothing was decided" in problem for problem in told)


def test_a_kill_is_a_kill(bench: Bench) -> None:
    result = bench.try_case(Case("kill", "first", kill=Kill("request", 40, "after")))
    assert (result.told, result.problems) == ("killed", [])


def test_sister_requests_take_turns_and_none_is_left_out(bench: Bench) -> None:
    _, points, _ = bench.undisturbed("first", "lfs")
    roles = {point.role for point in points}
    by_kind = turns(points, 12)
    assert all({point.role for point in chosen} == roles for chosen in by_kind)
    assert {point for chosen in by_kind for point in chosen} == set(points)
    assert len(points) == len(set(points)) > 150


def test_a_fault_that_never_comes_is_a_problem_of_the_drill(bench: Bench) -> None:
    nowhere = Point("GET /no/such/path", 1, "")
    result = bench.try_case(Case("503", "first", faults=((nowhere, "503", False),)))
    assert result.problems == ["the fault never came: the drill is wrong"]


def test_a_command_that_is_missing_is_told_as_missing_and_the_story_goes_on(hub: LocalHub, tmp_path: Path) -> None:
    family: Any = SimpleNamespace(store=tmp_path / "store")
    story = Story(hub, family, tmp_path / "story", lambda act: None)
    with story.act("something new", "prophesy") as act:
        assert story.record  # is not there: that is a problem of the act, and no end of the story
    assert (act.missing, act.code, story.acts) == (True, 2, [act])
    assert [problem.split(":")[0] for problem in act.problems] == ["exit 2, not 0", "AttributeError"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_request_by_three_faults_and_every_third_kill() -> None:
    told = faults.run(faults.SAMPLE, seed=1)
    assert told.problems == []
    assert told.cases > 400
    assert told.outcomes["403"].keys() == {"NoAccess"}
    assert told.outcomes["kill, request"].keys() == {"killed"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_story_of_the_tiny_family(tmp_path: Path) -> None:
    acts = play(Tiny(), tmp_path / "story", lambda act: None)
    assert {act.what: act.problems for act in acts if act.problems} == {}
    assert len(acts) == 18
