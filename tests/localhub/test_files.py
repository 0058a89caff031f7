"""What the real client writes is what it reads back, by LFS and by Xet."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, HfApi
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)

from tests.localhub import LocalHub
from tests.localhub.conftest import Write

CARD = b"---\nlicense: mit\ntags: [a]\nbase_model: org/base\n---\n# x\n"
MIB = 1 << 20

# What a program does that knows nothing of the hub being local.
PROGRAM = """
import os, sys
from pathlib import Path
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
folder, target = Path(sys.argv[1]), sys.argv[2]
api = HfApi()
api.create_repo("acme/prog", exist_ok=True)
api.upload_folder(repo_id="acme/prog", folder_path=folder)
api.create_tag("acme/prog", tag="v1")
one = Path(hf_hub_download("acme/prog", "weights.bin", revision="v1"))
assert one.read_bytes() == (folder / "weights.bin").read_bytes()
snapshot_download("acme/prog", revision="v1", local_dir=target)
"""


def weights(size: int = 3 * MIB, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("disable_xet", ["0", "1"])
def test_a_program_pushes_a_folder_and_pulls_it_back(hub: LocalHub, tmp_path: Path, disable_xet: str) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(weights())
    (folder / "sub" / "config.json").write_text("{}")
    env = os.environ | hub.env(tmp_path / "home") | {"HF_HUB_DISABLE_XET": disable_xet}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(tmp_path / "back")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("weights.bin", "sub/config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    puts = [entry for entry in hub.log if entry.origin == "storage" and entry.method == "PUT"]
    assert bool(puts) == (disable_xet == "1")
    assert hub.repo("acme/prog").git("fsck", "--strict", "--no-dangling") == ""


def test_a_commit_is_one_commit_and_its_files_are_all_there(
    hub: LocalHub, api: HfApi, write: Write, mode: str, tmp_path: Path
) -> None:
    large = weights()
    oid = write({"README.md": CARD, "model.safetensors": large, "a/b/c.json": b"{}"}, commit_description="why")
    repo = hub.repo("acme/x")
    assert repo.head() == oid
    assert [(commit.title, commit.body) for commit in repo.commits()] == [("A change", "why"), ("initial commit", "")]
    by_path = {entry.path: entry for entry in api.list_repo_tree("acme/x", recursive=True)}
    assert set(by_path) == {".gitattributes", "README.md", "a", "a/b", "a/b/c.json", "model.safetensors"}
    stored = by_path["model.safetensors"]
    assert (stored.lfs.sha256, stored.size) == (hashlib.sha256(large).hexdigest(), len(large))
    assert (stored.xet_hash is not None) == (mode == "xet")
    assert hub.read("acme/x", "model.safetensors") == large
    assert repo.read("model.safetensors").startswith(b"version https://git-lfs.github.com/spec/v1\n")
    there = api.hf_hub_download("acme/x", "model.safetensors", cache_dir=tmp_path)
    assert Path(there).read_bytes() == large


def test_what_xet_stored_is_read_by_a_client_without_xet(
    hub: LocalHub, write: Write, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write({"model.bin": weights()})
    assert hub.storage.xet_files()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    assert Path(api.hf_hub_download("acme/x", "model.bin", cache_dir=tmp_path)).read_bytes() == weights()
    assert hub.log[len(hub.log) - 1].origin == "storage"


def test_a_large_file_goes_up_in_parts(hub: LocalHub, write: Write, by_lfs: None) -> None:
    hub.multipart_bytes = MIB
    write({"model.bin": weights(2 * MIB + 7)})
    parts = [entry.bytes_in for entry in hub.log if entry.path.startswith("/parts/")]
    assert parts == [MIB, MIB, 7]
    assert hub.read("acme/x", "model.bin") == weights(2 * MIB + 7)
    assert not list((hub.data / "lfs" / "parts").iterdir())


def test_bytes_that_are_stored_already_do_not_travel_again(hub: LocalHub, write: Write, by_lfs: None) -> None:
    write({"model.bin": weights()})
    write({"again.bin": weights()})
    assert len([entry for entry in hub.log if entry.origin == "storage" and entry.method == "PUT"]) == 1


def test_the_same_content_makes_no_second_commit(hub: LocalHub, write: Write, mode: str) -> None:
    files = {"README.md": CARD, "model.bin": weights(MIB)}
    first = write(files)
    written = len(hub.writes)
    assert write(files) == first
    assert len(hub.writes) == written


def test_a_stale_parent_is_refused_with_412(hub: LocalHub, write: Write) -> None:
    parent = write({"a.txt": b"1"})
    hub.commit_as_stranger("acme/x", {"b.txt": b"2"})
    with pytest.raises(HfHubHTTPError, match="The branch was updated since you opened this page") as refused:
        write({"a.txt": b"3"}, parent_commit=parent)
    assert refused.value.response.status_code == 412
    assert hub.repo("acme/x").commits()[0].title == "A stranger was here"


def test_files_and_folders_are_deleted_and_copied(hub: LocalHub, write: Write, api: HfApi, by_lfs: None) -> None:
    write({"d/1.txt": b"1", "d/2.txt": b"2", "keep.txt": b"3", "model.bin": weights(1000)})
    api.create_commit("acme/x", [CommitOperationCopy("model.bin", "copy.bin")], commit_message="copy")
    api.delete_folder("d", "acme/x")
    api.delete_file("keep.txt", "acme/x")
    assert set(hub.repo("acme/x").files()) == {".gitattributes", "model.bin", "copy.bin"}
    with pytest.raises(RemoteEntryNotFoundError, match="doesn't exist"):
        api.delete_file("keep.txt", "acme/x")


def test_a_tree_moves_from_one_branch_to_another_without_its_bytes(
    hub: LocalHub, write: Write, api: HfApi, mode: str
) -> None:
    api.create_branch("acme/x", branch="vf/1")
    write({"model.bin": weights(MIB), "a.txt": b"1"}, revision="vf/1")
    copies = [CommitOperationCopy(path, path, src_revision="vf/1") for path in ("model.bin", "a.txt")]
    api.create_commit("acme/x", copies, commit_message="expose", parent_commit=hub.repo("acme/x").head())
    assert hub.repo("acme/x").files("main") == hub.repo("acme/x").files("vf/1")


def test_a_file_that_no_attribute_covers_gets_its_line(hub: LocalHub, write: Write, by_lfs: None) -> None:
    write({"a b.weird": b"\0\1\2" * 100, "model.bin": b"\0"})
    lines = hub.repo("acme/x").read(".gitattributes").decode().splitlines()
    assert lines[-1] == "a[[:space:]]b.weird filter=lfs diff=lfs merge=lfs -text"
    assert hub.repo("acme/x").files()["a b.weird"].sha256


def test_parts_of_a_file_are_served(hub: LocalHub, write: Write, by_lfs: None) -> None:
    from huggingface_hub.utils import get_session

    write({"model.bin": weights(1000), "a.txt": b"0123456789"})
    for path, content in (("model.bin", weights(1000)), ("a.txt", b"0123456789")):
        url = f"{hub.endpoint}/acme/x/resolve/main/{path}"
        part = get_session().get(url, headers={"Range": "bytes=2-5"})
        assert (part.status_code, part.content) == (206, content[2:6])
        assert part.headers["Content-Range"] == f"bytes 2-5/{len(content)}"
        assert get_session().get(url, headers={"Range": "bytes=9-"}).content == content[9:]
        assert get_session().get(url, headers={"Range": "bytes=5000-"}).status_code == 416


def test_what_is_not_there_is_named(hub: LocalHub, write: Write, api: HfApi, tmp_path: Path) -> None:
    write({"a.txt": b"1"})
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download("acme/x", "no.txt", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download("acme/x", "a.txt", revision="nowhere", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        write({"a.txt": b"1"}, revision="nowhere")
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("acme/x", "nowhere"))


def test_a_pointer_to_nothing_is_refused(hub: LocalHub, api: HfApi) -> None:
    from huggingface_hub.utils import get_session

    line = '{"key": "lfsFile", "value": {"path": "m.bin", "algo": "sha256", "oid": "%s", "size": 3}}' % ("0" * 64)
    body = '{"key": "header", "value": {"summary": "s"}}\n' + line
    url = f"{hub.endpoint}/api/models/acme/x/commit/main"
    refused = get_session().post(url, content=body, headers={"Authorization": f"Bearer {hub.token}"})
    assert refused.status_code == 400
    assert "pointed to a file that does not exist" in refused.text


@pytest.mark.parametrize("path", ["../up.txt", "/etc/passwd", ".git/config", "a//b", "a/../b"])
def test_a_path_that_leaves_the_repo_is_refused(hub: LocalHub, path: str) -> None:
    from huggingface_hub.utils import get_session

    hub.create_repo("models", "acme/y")
    head = '{"key": "header", "value": {"summary": "s"}}\n'
    line = json.dumps({"key": "file", "value": {"path": path, "content": "", "encoding": "base64"}})
    url = f"{hub.endpoint}/api/models/acme/y/commit/main"
    refused = get_session().post(url, content=head + line, headers={"Authorization": f"Bearer {hub.token}"})
    assert (refused.status_code, hub.repo("acme/y").commits()[0].title) == (400, "initial commit")


def test_a_card_is_checked_before_the_commit(hub: LocalHub, write: Write) -> None:
    with pytest.raises(ValueError, match="license"):
        write({"README.md": b"---\nlicense: mine\n---\n"})
    with pytest.raises(ValueError, match="YAML"):
        write({"README.md": b"---\n: [\n---\n"})
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        write({"README.md": b"# no metadata\n"})


def test_long_listings_come_in_pages(hub: LocalHub, write: Write, api: HfApi) -> None:
    write({f"d/{number:03}.txt": b"%d" % number for number in range(60)})
    hub.page_size = 25
    listed = [entry.path for entry in api.list_repo_tree("acme/x", recursive=True)]
    assert len(listed) == len(set(listed)) == 62
    assert len([entry for entry in hub.log if "/tree/" in entry.path]) == 3
    expanded = list(api.list_repo_tree("acme/x", "d", expand=True))
    assert {entry.last_commit.title for entry in expanded} == {"A change"}
    for number in range(60):
        hub.commit_as_stranger("acme/x", {"n.txt": b"%d" % number})
    assert len(api.list_repo_commits("acme/x")) == 62


def test_paths_are_told_of(hub: LocalHub, write: Write, api: HfApi, mode: str) -> None:
    write({"a.txt": b"12", "d/model.bin": weights(1000)})
    rows = api.get_paths_info("acme/x", ["a.txt", "d/model.bin", "d", "no"], expand=True)
    assert [(row.path, getattr(row, "size", None)) for row in rows] == [
        ("a.txt", 2),
        ("d/model.bin", 1000),
        ("d", None),
    ]
    assert rows[0].blob_id == hub.repo("acme/x").git("rev-parse", "main:a.txt").strip()
    assert rows[0].last_commit.oid == hub.repo("acme/x").head()


def test_datasets_and_kernels_have_repos_too(hub: LocalHub, api: HfApi, tmp_path: Path, by_lfs: None) -> None:
    for kind in ("dataset", "kernel"):
        api.create_repo("acme/y", repo_type=kind)
        operations = [CommitOperationAdd("a.txt", b"1"), CommitOperationAdd("rows.bin", weights(1000))]
        api.create_commit("acme/y", operations, commit_message="m", repo_type=kind)
        assert hub.read("acme/y", "rows.bin", kind=f"{kind}s") == weights(1000)
    there = api.hf_hub_download("acme/y", "rows.bin", repo_type="dataset", cache_dir=tmp_path)
    assert Path(there).read_bytes() == weights(1000)
    assert api.dataset_info("acme/y").sha == hub.repo("acme/y", "datasets").head()
    assert api.kernel_info("acme/y").sha == hub.repo("acme/y", "kernels").head()


def test_a_file_with_another_digest_or_size_is_refused(hub: LocalHub, api: HfApi, by_lfs: None) -> None:
    operation = CommitOperationAdd("model.bin", weights(1000))
    operation.upload_info.sha256 = b"\1" * 32
    with pytest.raises(RuntimeError, match=r"model\.bin") as refused:
        api.create_commit("acme/x", [operation], commit_message="m")
    assert isinstance(refused.value.__cause__, BadRequestError)
    assert hub.writes[-1].path == "/api/repos/create"


def objects(hub: LocalHub, operation: str, sha256: str, size: int) -> dict[str, Any]:
    """What the LFS batch API answers for one object."""
    wish = {"operation": operation, "transfers": ["basic", "multipart"], "objects": [{"oid": sha256, "size": size}]}
    headers = {"Authorization": f"Bearer {hub.token}"}
    told = httpx2.post(f"{hub.endpoint}/acme/x.git/info/lfs/objects/batch", json=wish, headers=headers)
    row: dict[str, Any] = told.json()["objects"][0]
    return row


def test_the_storage_takes_signed_addresses_alone_and_no_token(hub: LocalHub, write: Write, by_lfs: None) -> None:
    write({"model.bin": weights(1000)})
    sha256 = hashlib.sha256(weights(1000)).hexdigest()
    address = objects(hub, "download", sha256, 1000)["actions"]["download"]["href"]
    assert httpx2.get(address).content == weights(1000)
    assert httpx2.get(address.replace("X-Signature=", "X-Signature=0")).status_code == 403
    assert hub.leaks == []
    assert httpx2.get(address, headers={"Authorization": "Bearer x"}).status_code == 400
    assert hub.leaks == [f"GET /objects/{sha256}"]
    hub.leaks.clear()


def test_parts_that_are_missing_or_changed_are_noticed(hub: LocalHub, api: HfApi) -> None:
    hub.multipart_bytes = 10
    content = weights(25)
    sha256 = hashlib.sha256(content).hexdigest()
    upload = objects(hub, "upload", sha256, 25)["actions"]["upload"]
    etags = []
    for number in (1, 2, 3):
        part = content[10 * (number - 1) : 10 * number]
        etags.append(httpx2.put(upload["header"][f"{number:05}"], content=part).headers["ETag"])
    parts = [{"partNumber": number, "etag": etag} for number, etag in enumerate(etags, 1)]
    changed = [*parts[:2], {"partNumber": 3, "etag": "0"}]
    for wrong in (parts[:2], changed):
        assert httpx2.post(upload["href"], json={"oid": sha256, "parts": wrong}).status_code == 400
    assert not hub.storage.has(sha256)
    assert httpx2.post(upload["href"], json={"oid": sha256, "parts": parts}).status_code == 200
    assert hub.storage.open_path(sha256).read_bytes() == content


def test_a_chunked_upload_does_not_swallow_the_next_request(hub: LocalHub, api: HfApi) -> None:
    content = weights(100_000)
    sha256 = hashlib.sha256(content).hexdigest()
    address = objects(hub, "upload", sha256, len(content))["actions"]["upload"]["href"]
    with httpx2.Client() as client:
        for _ in range(2):
            assert client.put(address, content=iter([content[:10], content[10:]])).status_code == 200
    assert hub.storage.open_path(sha256).read_bytes() == content
