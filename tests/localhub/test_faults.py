"""Each fault as the client sees it, and what the hub holds afterwards."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session

from tests.localhub import Fault, LocalHub
from tests.localhub.conftest import Write
from tests.localhub.test_files import weights

COMMIT = "POST /api/models/acme/x/commit/*"


def titles(hub: LocalHub) -> list[str]:
    return [commit.title for commit in hub.repo("acme/x").commits()]


@pytest.mark.parametrize("status", [401, 403, 413, 429, 500, 503])
def test_a_status_is_answered_and_nothing_is_done(hub: LocalHub, write: Write, status: int) -> None:
    hub.faults = [Fault(COMMIT, status)]
    with pytest.raises(HfHubHTTPError) as refused:
        write({"a.txt": b"1"})
    assert refused.value.response.status_code == status
    assert titles(hub) == ["initial commit"]
    write({"a.txt": b"1"})
    assert titles(hub) == ["A change", "initial commit"]


def test_429_tells_when_to_come_back(hub: LocalHub, write: Write) -> None:
    hub.faults = [Fault(COMMIT, 429, retry_after_s=7)]
    with pytest.raises(HfHubHTTPError, match="Retry after 7 seconds") as refused:
        write({"a.txt": b"1"})
    assert refused.value.response.headers["Retry-After"] == "7"
    assert refused.value.response.headers["RateLimit"] == '"api";r=0;t=7'


def test_the_nth_request_and_no_other_goes_wrong(hub: LocalHub, write: Write) -> None:
    hub.faults = [Fault(COMMIT, 503, nth=2, times=2)]
    write({"a.txt": b"1"})
    for _ in range(2):
        with pytest.raises(HfHubHTTPError):
            write({"a.txt": b"2"})
    write({"a.txt": b"3"})
    assert hub.faults[0].fired == 2
    assert [entry.fault for entry in hub.log if entry.path.endswith("/commit/main")] == [None, "503", "503", None]


def test_a_lost_reply_leaves_the_commit_behind(hub: LocalHub, write: Write) -> None:
    hub.faults = [Fault(COMMIT, "reply_lost")]
    with pytest.raises(httpx2.RemoteProtocolError):
        write({"a.txt": b"1"})
    assert titles(hub) == ["A change", "initial commit"]
    assert [(entry.status, entry.fault) for entry in hub.writes][-1] == (200, "reply_lost")


@pytest.mark.parametrize("kind", ["refused", "timeout"])
def test_a_refused_or_hanging_request_leaves_nothing(hub: LocalHub, write: Write, kind: str) -> None:
    hub.faults = [Fault(COMMIT, kind, hang_s=0.05)]
    with pytest.raises((httpx2.RemoteProtocolError, httpx2.NetworkError)):
        write({"a.txt": b"1"})
    assert titles(hub) == ["initial commit"]
    assert all("/commit/" not in entry.path for entry in hub.writes)


def test_a_client_that_waits_less_than_the_hub_hangs_times_out(hub: LocalHub, api: HfApi) -> None:
    hub.faults = [Fault("GET /api/models/acme/x", "timeout", hang_s=5)]
    with pytest.raises(httpx2.ReadTimeout):
        api.model_info("acme/x", timeout=0.1)


def test_a_stranger_commits_right_before_ours(hub: LocalHub, write: Write, api: HfApi) -> None:
    api.create_branch("acme/x", branch="vf/1")
    parent = hub.repo("acme/x").head()
    hub.faults = [Fault("POST /api/models/acme/x/commit/vf%2F1", "stale_head")]
    with pytest.raises(HfHubHTTPError, match="412"):
        write({"a.txt": b"1"}, revision="vf/1", parent_commit=parent)
    assert hub.repo("acme/x").commits("vf/1")[0].title == "A stranger was here"
    assert titles(hub) == ["initial commit"]


def test_a_truncated_download_is_noticed_and_made_again(
    hub: LocalHub, write: Write, api: HfApi, tmp_path: Path, by_lfs: None
) -> None:
    write({"model.bin": weights()})
    hub.faults = [Fault("GET /objects/*", "truncated")]
    there = Path(api.hf_hub_download("acme/x", "model.bin", cache_dir=tmp_path))
    assert there.read_bytes() == weights()
    sent = [entry.bytes_out for entry in hub.log if entry.path.startswith("/objects/") and entry.method == "GET"]
    assert sent == [len(weights()) // 2, len(weights())]


def test_wrong_bytes_arrive_and_the_client_does_not_notice(
    hub: LocalHub, write: Write, api: HfApi, tmp_path: Path, by_lfs: None
) -> None:
    write({"model.bin": weights()})
    hub.faults = [Fault("GET /objects/*", "wrong_bytes")]
    there = Path(api.hf_hub_download("acme/x", "model.bin", cache_dir=tmp_path)).read_bytes()
    assert (len(there), there == weights()) == (len(weights()), False)
    assert hub.read("acme/x", "model.bin") == weights()


def test_the_client_retries_an_upload_by_itself(hub: LocalHub, write: Write, by_lfs: None) -> None:
    hub.faults = [Fault("PUT /objects/*", 500)]
    write({"model.bin": weights(1000)})
    statuses = [entry.status for entry in hub.log if entry.method == "PUT"]
    assert statuses == [500, 200]


def test_a_fault_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ValueError, match="no fault 'rain'"):
        Fault("*", "rain")


def test_hooks_are_called_at_each_request_and_can_cut_it(hub: LocalHub, api: HfApi) -> None:
    seen: list[str] = []
    start = len(hub.log)

    def before(number: int) -> bool:
        seen.append(f"before {number - start} {hub.log[number - 1].method}")
        return number - start != 2

    def after(number: int) -> bool:
        seen.append(f"after {number - start} {hub.log[number - 1].status}")
        return number - start != 3

    hub.before, hub.after = before, after
    assert get_session().get(f"{hub.endpoint}/api/models/acme/x").status_code == 200
    for branch in ("two", "three"):
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.NetworkError)):
            api.create_branch("acme/x", branch=branch)
    assert seen == ["before 1 GET", "after 1 200", "before 2 POST", "before 3 POST", "after 3 200"]
    assert set(hub.repo("acme/x").branches()) == {"main", "three"}


KILLED = """
import os
from huggingface_hub import CommitOperationAdd, HfApi
operations = [CommitOperationAdd("a.txt", b"1"), CommitOperationAdd("model.bin", os.urandom(100_000))]
HfApi().create_commit("acme/x", operations, commit_message="A change")
"""


@pytest.mark.parametrize(("hook", "left"), [("before", ["initial commit"]), ("after", ["A change", "initial commit"])])
def test_a_client_is_killed_at_a_request(hub: LocalHub, api: HfApi, tmp_path: Path, hook: str, left: list[str]) -> None:
    def kill(number: int) -> bool:
        if not hub.log[number - 1].path.endswith("/commit/main"):
            return True
        child.kill()
        child.wait()
        return False

    setattr(hub, hook, kill)
    command = [sys.executable, "-c", KILLED]
    with subprocess.Popen(command, env=os.environ | hub.env(tmp_path), stderr=subprocess.DEVNULL) as child:
        assert child.wait(timeout=120) == -signal.SIGKILL
    hub.settle()
    assert titles(hub) == left


def test_the_log_tells_who_asked_and_what_was_written_but_no_token(hub: LocalHub, api: HfApi, write: Write) -> None:
    write({"a.txt": b"1"})
    api.create_tag("acme/x", tag="v1")
    assert [f"{entry.method} {entry.path} {entry.user}" for entry in hub.writes] == [
        "POST /api/repos/create alice",
        "POST /api/models/acme/x/commit/main alice",
        "POST /api/models/acme/x/tag/main alice",
    ]
    assert hub.token not in "\n".join(f"{entry} {entry!r}" for entry in hub.log)


def test_a_token_in_a_file_is_found_in_what_is_stored(hub: LocalHub, api: HfApi, mode: str) -> None:
    token = hub.token.encode()
    assert not [place for place, content in hub.stored_bytes() if token in content]
    api.create_commit("acme/x", [CommitOperationAdd("a.txt", b"x" + token)], commit_message="oops")
    api.create_commit("acme/x", [CommitOperationAdd("a.bin", b"\0" * 100_000 + token)], commit_message="oops")
    api.create_collection("t", namespace="acme", description=hub.token)
    places = [place for place, content in hub.stored_bytes() if token in content]
    assert sum(place.startswith("models/acme/x ") for place in places) == 1
    assert sum(place.startswith("lfs/objects/") for place in places) == 1
    assert "collections" in places


def test_a_reset_leaves_nothing_and_keeps_the_addresses(hub: LocalHub, write: Write, mode: str) -> None:
    write({"model.bin": weights(100_000)})
    endpoint, token = hub.endpoint, hub.token
    hub.reset()
    assert (hub.repos, len(hub.log), hub.endpoint) == ({}, 0, endpoint)
    assert hub.token != token
    assert not hub.storage.has(hashlib.sha256(weights(100_000)).hexdigest())
