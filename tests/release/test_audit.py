"""Verification by third parties: without a token, from the Hub alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.localhub import Fault, LocalHub
from tests.release.lab import ADAPTER, GGUF, INDEX, MERGED, WEIGHTS, apply, changed, client, desired
from variantforge.errors import IntegrityError, NotOnHub, UsageError
from variantforge.release.audit import Audit, audit, problem_of


@pytest.fixture
def released(hub: LocalHub, tmp_path: Path) -> LocalHub:
    apply(hub, desired(tmp_path), tmp_path)
    apply(hub, desired(tmp_path, "1.1.0", changed(WEIGHTS, MERGED, "notes.txt", b"better notes")), tmp_path)
    return hub


def look(hub: LocalHub, version: str = "", folder: Path | None = None) -> Audit:
    return audit(client(hub, token=""), INDEX, version, download=folder)


@pytest.mark.parametrize("version", ["", "1.1.0", "1.0.0"])
def test_anybody_can_verify_any_release(released: LocalHub, version: str) -> None:
    written, asked = len(released.writes), len(released.log)
    found = look(released, version)
    assert found.faults == []
    assert found.record.version == (version or "1.1.0")
    assert (len(found.repos), found.files) == (3, 3 + 2 + 3)
    assert found.document["ok"]
    assert len(released.writes) == written
    assert not any(entry.user for entry in list(released.log)[asked:])


def test_a_download_reads_every_byte_and_leaves_none(released: LocalHub, tmp_path: Path) -> None:
    folder = tmp_path / "reading"
    found = look(released, folder=folder)
    whole = sum(released.repo(repo).entries("main")[path].size for repo in WEIGHTS for path in WEIGHTS[repo])
    assert found.faults == []
    assert found.read_bytes == whole > look(released).read_bytes
    assert list(folder.iterdir()) == []


def test_wrong_bytes_are_found_where_they_are_read(released: LocalHub, tmp_path: Path) -> None:
    sha256 = released.repo(MERGED).entries("main")["model.safetensors"].sha256
    assert sha256 is not None
    path = released.storage.open_path(sha256)
    path.chmod(0o644)
    path.write_bytes(b"mergeD weights")
    assert look(released).faults == []  # the Hub still says what it should hold
    (fault,) = look(released, folder=tmp_path).faults
    assert (fault.repo, fault.path) == (MERGED, "model.safetensors")


def test_a_spoilt_card_of_one_repo_keeps_no_other_from_being_looked_at(released: LocalHub) -> None:
    released.faults = [Fault(f"GET /{MERGED}/resolve/*/README.md", "wrong_bytes", times=100)]
    found = audit(client(released), INDEX)
    assert [fault.repo for fault in found.faults] == [MERGED]
    assert len(found.repos) == 3


def test_a_moved_tag_and_a_missing_repo_are_found(released: LocalHub) -> None:
    released.repo(ADAPTER).store.set_ref("refs/tags/v1.0.0", released.repo(ADAPTER).commits("main")[-1].oid)
    del released.repos["models", GGUF]
    faults = {(fault.repo, fault.what) for fault in look(released, "1.0.0").faults}
    assert len(faults) == 2
    assert (GGUF, "is not there, or is hidden from this token") in faults
    assert look(released, "1.0.0").repos[0].faults == ()


def test_a_commit_of_another_tree_is_found(released: LocalHub) -> None:
    """release.json is edited to name another commit of the repo: its id does not cover that, the tree digest does."""
    record = json.loads(released.read(INDEX, "release.json"))
    older = json.loads(released.read(INDEX, "release.json", "v1.0.0"))
    record["repos"][MERGED]["commit"] = older["repos"][MERGED]["commit"]
    released.commit_as_stranger(INDEX, {"release.json": json.dumps(record).encode()})
    whats = [fault.what for fault in look(released).faults if fault.repo == MERGED]
    assert any("not the released one" in what for what in whats)
    assert any("its tag v1.1.0 points at" in what for what in whats)
    error = problem_of(look(released))
    assert isinstance(error, IntegrityError)
    assert MERGED in error.why


def test_a_variantforge_json_that_lies_about_a_file_is_found(released: LocalHub) -> None:
    lineage = json.loads(released.read(MERGED, "variantforge.json"))
    lineage["files"]["notes.txt"]["sha256"] = "0" * 64
    oid = released.commit_as_stranger(MERGED, {"variantforge.json": json.dumps(lineage).encode()})
    record = json.loads(released.read(INDEX, "release.json"))
    record["repos"][MERGED]["commit"] = oid
    released.commit_as_stranger(INDEX, {"release.json": json.dumps(record).encode()})
    assert any("makes the tree" in fault.what for fault in look(released).faults)


def test_an_edited_page_is_found(released: LocalHub) -> None:
    page = released.read(INDEX, "README.md")
    released.commit_as_stranger(INDEX, {"README.md": page.replace(b"toys", b"tools")})
    assert [(fault.repo, fault.path) for fault in look(released).faults] == [(INDEX, "README.md")]
    assert look(released, "1.1.0").faults == []


def test_a_release_json_that_was_edited_under_its_id_is_refused(released: LocalHub) -> None:
    record = json.loads(released.read(INDEX, "release.json")) | {"version": "9.9.9"}
    released.commit_as_stranger(INDEX, {"release.json": json.dumps(record).encode()})
    with pytest.raises(IntegrityError, match="it was edited"):
        look(released)


def test_what_was_never_released_is_told_with_what_was(released: LocalHub) -> None:
    with pytest.raises(UsageError, match=r"no release 3\.0\.0") as unknown:
        look(released, "3.0.0")
    assert "1.0.0, 1.1.0" in unknown.value.why
    assert unknown.value.next == f"vf verify {INDEX}@1.1.0"
    with pytest.raises(NotOnHub, match="there is no acme/nowhere"):
        audit(client(released, token=""), "acme/nowhere")


def test_a_private_release_is_hidden_from_others(released: LocalHub) -> None:
    released.repo(ADAPTER).private = True
    assert [fault.repo for fault in look(released).faults] == [ADAPTER]
    assert audit(client(released), INDEX).faults == []


def test_a_hub_that_stutters_is_asked_again(released: LocalHub) -> None:
    fault = Fault("GET *variantforge.json*", 503)
    released.faults.append(fault)
    assert look(released).faults == []
    assert fault.fired
