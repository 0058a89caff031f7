"""Reading and changing repos: what is told, and that doing it twice does it once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.localhub import Fault, LocalHub
from tests.release.hub.conftest import REPO, Speak
from variantforge.errors import IntegrityError, NameTaken, NoAccess, NotOnHub
from variantforge.release.hub import Hub, git_blob_oid, same

WEIGHTS = bytes(range(256)) * 5000  # above what the Hub keeps as a regular file


def test_a_repo_that_is_not_there_is_none_and_its_parts_are_not_on_the_hub(ours: Hub) -> None:
    assert ours.repo("acme/none") is None
    assert ours.head("acme/none", "main") is None
    assert ours.head(REPO, "none") is None
    for ask in (
        lambda: ours.tree("acme/none", "main"),
        lambda: ours.tree(REPO, "none"),
        lambda: ours.read(REPO, "main", "none.txt"),
        lambda: ours.history(REPO, "none"),
    ):
        with pytest.raises(NotOnHub):
            ask()


def test_a_new_repo_is_private_and_making_it_again_makes_nothing(hub: LocalHub, ours: Hub) -> None:
    before = len(hub.writes)
    ours.create_repo(REPO, private=False)
    found = ours.repo(REPO)
    assert found
    assert (found.private, found.gated, list(found.branches), found.tags) == (True, "no", ["main"], {})
    assert len(hub.writes) == before


def test_settings_are_told_as_they_were_set(ours: Hub) -> None:
    ours.set_visibility(REPO, "public")
    for gated in ("auto", "manual", "no"):
        ours.set_gated(REPO, gated)  # type: ignore[arg-type]
        found = ours.repo(REPO)
        assert found
        assert (found.private, found.gated) == (False, gated)


def test_branches_and_tags_come_and_go_and_twice_is_once(ours: Hub, head: str) -> None:
    for _ in range(2):
        ours.create_branch(REPO, "vf/a+b%2F", head)
        ours.tag(REPO, "v1.0.0", head, "first")
    found = ours.repo(REPO)
    assert found
    assert found.branches == {"main": head, "vf/a+b%2F": head}
    assert found.tags == {"v1.0.0": head}
    for _ in range(2):
        ours.delete_branch(REPO, "vf/a+b%2F")
    assert ours.head(REPO, "vf/a+b%2F") is None


def test_a_tag_is_never_moved(ours: Hub, head: str) -> None:
    ours.tag(REPO, "v1.0.0", head)
    newer = ours.commit(REPO, "main", {"a": b"1"}, message="More", parent=head)
    with pytest.raises(NameTaken, match=f"tag v1.0.0 already, at {head[:12]}"):
        ours.tag(REPO, "v1.0.0", newer)


def test_files_are_told_by_what_the_hub_knows_them_by(ours: Hub, head: str, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(WEIGHTS)
    oid = ours.commit(REPO, "main", {"model.safetensors": path, "a/b.json": b"{}"}, message="Files", parent=head)
    tree = ours.tree(REPO, oid)
    assert set(tree) == {".gitattributes", "model.safetensors", "a/b.json"}
    weights, small = tree["model.safetensors"], tree["a/b.json"]
    assert weights.sha256
    assert weights.size_bytes == len(WEIGHTS)
    assert small.sha256 is None
    assert small.git_oid == git_blob_oid(b"{}")
    assert same(weights, path)
    assert same(weights, WEIGHTS)
    assert same(weights, path, weights.sha256)
    assert same(small, b"{}")
    assert not same(small, b"[]")
    assert not same(small, b"{ }")
    assert not same(weights, WEIGHTS[:-1])
    assert not same(weights, b"x" + WEIGHTS[1:])
    assert not same(weights, path, "0" * 64)
    assert ours.download(REPO, oid, weights, tmp_path / "back" / "model").read_bytes() == WEIGHTS
    assert ours.read(REPO, oid, "a/b.json") == b"{}"


def test_git_agrees_about_the_id_of_a_file(hub: LocalHub, ours: Hub, head: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"some\ntext\n")
    assert git_blob_oid(tmp_path / "text") == git_blob_oid(b"some\ntext\n")
    assert git_blob_oid(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_history_is_told_newest_first_and_no_longer_than_asked(ours: Hub, head: str) -> None:
    oids = [head]
    for number in range(3):
        oids.append(ours.commit(REPO, "main", {"n": b"%d" % number}, message=f"Number {number}", parent=oids[-1]))
    found = ours.history(REPO, "main", 2)
    assert [(each.oid, each.title, each.author) for each in found] == [
        (oids[3], "Number 2", "alice"),
        (oids[2], "Number 1", "alice"),
    ]
    assert [each.oid for each in ours.history(REPO, oids[1], 9)] == [oids[1], oids[0]]


@pytest.mark.parametrize("kind", ["wrong_bytes", "truncated"])
def test_a_download_of_other_bytes_is_never_taken_for_the_file(
    hub: LocalHub, ours: Hub, head: str, tmp_path: Path, kind: str
) -> None:
    oid = ours.commit(REPO, "main", {"config.json": b'{"a": 1}'}, message="A", parent=head)
    file = ours.tree(REPO, oid)["config.json"]
    hub.faults.append(Fault("GET */resolve/*/config.json", kind))
    if kind == "wrong_bytes":
        with pytest.raises(IntegrityError, match="serves other bytes for config"):
            ours.download(REPO, oid, file, tmp_path / "config.json")
    else:
        assert ours.download(REPO, oid, file, tmp_path / "config.json").read_bytes() == b'{"a": 1}'


def test_a_file_longer_than_it_should_be_is_not_read_to_its_end(ours: Hub, head: str) -> None:
    oid = ours.commit(REPO, "main", {"long": b"x" * 2000}, message="A", parent=head)
    with pytest.raises(IntegrityError, match="longer than 1000 bytes"):
        ours.read(REPO, oid, "long", limit_bytes=1000)


def test_a_private_repo_of_others_is_not_on_the_hub_for_us(hub: LocalHub, ours: Hub, speak: Speak) -> None:
    hub.accounts.add_user("bob", {})
    bob = speak(token=hub.accounts.add_token("bob"))
    assert bob.repo(REPO) is None
    with pytest.raises(NoAccess, match="creating acme/new: the Hub answered 403"):
        bob.create_repo("acme/new")
