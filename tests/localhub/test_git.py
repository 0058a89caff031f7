"""Others than the client read what was published: git, git-lfs, and a reader nobody here wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.localhub import LocalHub
from tests.localhub.conftest import Write
from tests.localhub.test_files import CARD, weights

needs_lfs = pytest.mark.skipif(not shutil.which("git-lfs"), reason="git-lfs is not installed (apt-get install git-lfs)")
QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_LFS_SKIP_SMUDGE": "1",
}


def git(*args: str, at: Path | None = None) -> str:
    done = subprocess.run(["git", *args], cwd=at, env=os.environ | QUIET, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_lfs
def test_git_clone_and_lfs_pull_give_equal_bytes(
    hub: LocalHub, write: Write, api: HfApi, mode: str, tmp_path: Path
) -> None:
    write({"README.md": CARD, "model.safetensors": weights(), "sub/a.txt": "grüße\n".encode()})
    api.create_tag("acme/x", tag="v1", tag_message="one")
    clone = tmp_path / "clone"
    git("clone", "-q", f"{hub.endpoint}/acme/x", str(clone))
    assert (clone / "model.safetensors").read_bytes().startswith(b"version https://git-lfs")
    git("lfs", "install", "--local", at=clone)
    git("lfs", "pull", at=clone)
    assert (clone / "model.safetensors").read_bytes() == weights()
    assert (clone / "README.md").read_bytes() == CARD
    assert (clone / "sub/a.txt").read_text() == "grüße\n"
    assert git("lfs", "ls-files", "-n", at=clone).split() == ["model.safetensors"]
    assert git("status", "--porcelain", at=clone) == ""
    assert git("rev-parse", "v1^{commit}", at=clone).strip() == hub.repo("acme/x").head()
    git("fsck", "--strict", at=clone)


def test_a_fetch_brings_what_is_new(hub: LocalHub, write: Write, api: HfApi, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git("clone", "-q", f"{hub.endpoint}/acme/x.git", str(clone))
    write({"a.txt": b"1"})
    api.create_branch("acme/x", branch="vf/1")
    git("fetch", "-q", at=clone)
    assert git("show", "origin/vf/1:a.txt", at=clone) == "1"


def test_a_private_repo_is_cloned_with_a_token(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    api.update_repo_settings("acme/x", private=True)
    command = ["git", "clone", "-q", f"{hub.endpoint}/acme/x", str(tmp_path / "no")]
    refused = subprocess.run(command, env=os.environ | QUIET, capture_output=True)
    assert refused.returncode != 0
    address = hub.endpoint.replace("http://", f"http://alice:{hub.token}@")
    git("clone", "-q", f"{address}/acme/x", str(tmp_path / "yes"))


def test_a_push_is_refused(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    address = hub.endpoint.replace("http://", f"http://alice:{hub.token}@")
    git("clone", "-q", f"{address}/acme/x", str(clone))
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "no", at=clone)
    done = subprocess.run(["git", "push"], cwd=clone, env=os.environ | QUIET, capture_output=True, text=True)
    assert done.returncode != 0
    assert len(hub.repo("acme/x").commits()) == 1


def test_the_repository_is_sound_and_stays_so_when_git_packs_it(hub: LocalHub, write: Write, api: HfApi) -> None:
    for number in range(20):
        write({"a.txt": b"%d" % number, f"d/{number % 3}/b.txt": b"b", "d.txt": b"d", "d-e.txt": b"e"})
    api.create_tag("acme/x", tag="v1", tag_message="one")
    api.create_branch("acme/x", branch="vf/1")
    repo = hub.repo("acme/x")
    assert repo.git("fsck", "--strict", "--full") == ""
    before = (repo.files(), repo.branches(), repo.tags(), len(repo.commits()))
    repo.git("gc", "-q")
    hub.repos["models", "acme/x"] = again = type(repo)(repo.kind, repo.name, repo.path, repo.created)
    assert (again.files(), again.branches(), again.tags(), len(again.commits())) == before
    write({"a.txt": b"after"})
    api.delete_branch("acme/x", branch="vf/1")
    assert again.git("log", "--format=%s").split("\n")[0] == "A change"
    assert set(again.branches()) == {"main"}
    assert again.git("fsck", "--strict", "--full") == ""


def test_branches_and_tags_are_made_once_and_taken_away(hub: LocalHub, write: Write, api: HfApi) -> None:
    first = write({"a.txt": b"1"})
    second = write({"a.txt": b"2"})
    api.create_branch("acme/x", branch="old", revision=first)
    api.create_tag("acme/x", tag="v2")
    api.create_tag("acme/x", tag="v1", revision=first[:10], tag_message="the first")
    for again in (lambda: api.create_branch("acme/x", branch="old"), lambda: api.create_tag("acme/x", tag="v1")):
        with pytest.raises(HfHubHTTPError) as refused:
            again()
        assert refused.value.response.status_code == 409
    refs = api.list_repo_refs("acme/x")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": second, "old": first}
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": first, "v2": second}
    api.delete_tag("acme/x", tag="v1")
    api.delete_branch("acme/x", branch="old")
    with pytest.raises(HfHubHTTPError):
        api.delete_branch("acme/x", branch="main")
    assert hub.repo("acme/x").git("for-each-ref", "--format=%(refname)").split() == ["refs/heads/main", "refs/tags/v2"]


@pytest.mark.parametrize("name", ["a..b", "a b", "a~1", ".a", "a.lock", "a//b", "0" * 40])
def test_a_name_that_git_refuses_is_refused(hub: LocalHub, api: HfApi, name: str) -> None:
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_branch("acme/x", branch=name)
    assert refused.value.response.status_code == 400


def test_a_squash_leaves_one_commit(hub: LocalHub, write: Write, api: HfApi) -> None:
    write({"a.txt": b"1"})
    api.super_squash_history("acme/x", commit_message="all")
    assert [commit.title for commit in hub.repo("acme/x").commits()] == ["all"]
    assert hub.read("acme/x", "a.txt") == b"1"


def test_a_pull_request_is_proposed_and_merged(hub: LocalHub, write: Write, api: HfApi) -> None:
    from huggingface_hub import CommitOperationAdd

    write({"a.txt": b"1\n"})
    made = api.create_commit("acme/x", [CommitOperationAdd("a.txt", b"2\n")], commit_message="Better", create_pr=True)
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    write({"other.txt": b"x"})
    write({"more.txt": b"y"}, revision="refs/pr/1")
    told = api.get_discussion_details("acme/x", 1)
    assert (told.title, told.status, told.is_pull_request, told.conflicting_files) == ("Better", "draft", True, [])
    assert [event.type for event in told.events] == ["commit", "commit"]
    assert "-1\n+2\n" in told.diff
    api.comment_discussion("acme/x", 1, "fine")
    api.change_discussion_status("acme/x", 1, "open")
    api.merge_pull_request("acme/x", 1)
    assert hub.repo("acme/x").commits()[0].title == "Better (#1)"
    assert (hub.read("acme/x", "a.txt"), hub.read("acme/x", "more.txt"), hub.read("acme/x", "other.txt")) == (
        b"2\n",
        b"y",
        b"x",
    )
    assert [(talk.num, talk.status) for talk in api.get_repo_discussions("acme/x")] == [(1, "merged")]
    assert api.list_repo_refs("acme/x", include_pull_requests=True).pull_requests[0].ref == "refs/pr/1"


def test_a_pull_request_that_conflicts_is_not_merged(hub: LocalHub, write: Write, api: HfApi) -> None:
    api.create_pull_request("acme/x", "Mine", description="d")
    write({"a.txt": b"1"}, revision="refs/pr/1")
    write({"a.txt": b"2"})
    assert api.get_discussion_details("acme/x", 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError) as refused:
        api.merge_pull_request("acme/x", 1)
    assert refused.value.response.status_code == 409
    assert hub.read("acme/x", "a.txt") == b"2"
