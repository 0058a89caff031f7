"""A release killed at each request: never a visible half, no commit twice, and the next run ends where none was killed.

From the request of the kill on nothing of the first run reaches the hub any more, which is what a kill is to it. The
request itself is dropped (``before``) or obeyed without an answer (``after``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from benchmarks.drill.toys import Image

from tests.localhub import LocalHub
from tests.localhub.fixtures import forget_xet_addresses
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
)
from variantforge.errors import HubError
from variantforge.release.desired import Desired
from variantforge.release.hub import Hub, Patience
from variantforge.release.planning import plan_release
from variantforge.release.transaction import release, resume

When = Literal["before", "after"]
REPOS = (MERGED, ADAPTER, GGUF)


@pytest.fixture(autouse=True)
def _fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing answers, huggingface_hub sleeps, and Xet tries for minutes; so LFS, whose every request counts."""
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


def first(folder: Path) -> Desired:
    return desired(folder)


def second(folder: Path) -> Desired:
    """One repo changed, with a file taken away; another card; a new repo."""
    contents = {**changed(WEIGHTS, MERGED, "notes.txt", None), "acme/toys-new": {"model.safetensors": b"new"}}
    return desired(folder, "1.1.0", contents, cards={ADAPTER: "# Better words"})


def whole_run(hub: LocalHub, folder: Path, wanted: Callable[[Path], Desired]) -> tuple[dict[str, Any], int]:
    """The end state that nothing disturbed, and how many requests it takes."""
    prepare(hub, folder, wanted)
    asked = len(hub.log)
    apply(hub, wanted(folder), folder)
    check_exposed(hub)
    return end_state(hub), len(hub.log) - asked


def prepare(hub: LocalHub, folder: Path, wanted: Callable[[Path], Desired]) -> None:
    """An empty hub; for the second release, one that holds the first, and a stranger's words (released once a folder,
    then put back, with the journal of that release)."""
    hub.before = hub.after = None
    store, kept = folder / "store", folder / "released" / "store"
    if wanted is second and folder in _RELEASED:
        _RELEASED[folder].put_back(hub)
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(kept, store)
    else:
        hub.reset()
        if wanted is second:
            apply(hub, first(folder), folder)
            hub.commit_as_stranger(MERGED, {"theirs.txt": b"mine"})
            _RELEASED[folder] = Image.of(hub, folder / "released")
            shutil.copytree(store, kept)
    forget_xet_addresses()


_RELEASED: dict[Path, Image] = {}


def killed(hub: LocalHub, folder: Path, wanted: Callable[[Path], Desired], number: int, when: When) -> None:
    """A run of which nothing reaches the hub from the n-th request on."""
    start = len(hub.log)
    dead = lambda at: at - start < number  # noqa: E731
    if when == "before":
        hub.before = dead
    else:
        hub.before, hub.after = lambda at: at - start <= number, dead
    with pytest.raises(HubError):
        speaker = Hub(hub.endpoint, hub.token, pause=lambda seconds: None, patience=Patience(0, 0))
        release(plan_release(wanted(folder), speaker), speaker, journal(folder))
    hub.before = hub.after = None


def check_kill(
    hub: LocalHub, folder: Path, wanted: Callable[[Path], Desired], number: int, when: When, end: dict[str, Any]
) -> None:
    prepare(hub, folder, wanted)
    killed(hub, folder, wanted, number, when)
    check_whole(hub)
    if number % 2:
        shutil.rmtree(folder / "store", ignore_errors=True)  # as on another machine
    apply(hub, wanted(folder), folder)
    check_exposed(hub)
    assert end_state(hub) == end, f"after a kill {when} request {number}"


@pytest.mark.parametrize("wanted", [first, second])
def test_a_release_killed_at_some_requests_ends_as_if_it_was_not(
    hub: LocalHub, tmp_path: Path, wanted: Callable[[Path], Desired]
) -> None:
    end, requests = whole_run(hub, tmp_path, wanted)
    for number in range(20, requests, requests // 3):
        check_kill(hub, tmp_path, wanted, number, "after" if number % 2 else "before", end)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_update_killed_at_any_request_ends_as_if_it_was_not(hub: LocalHub, tmp_path: Path, when: When) -> None:
    """At every third request. A first release is killed there by test_drill.py, with real processes."""
    end, requests = whole_run(hub, tmp_path, second)
    for number in range(1 if when == "before" else 2, requests + 1, 3):
        check_kill(hub, tmp_path, second, number, when, end)


@pytest.mark.slow
def test_a_release_killed_after_it_was_decided_is_finished_by_release_json_alone(hub: LocalHub, tmp_path: Path) -> None:
    end, requests = whole_run(hub, tmp_path, second)
    finished = 0
    for number in range(1, requests, 5):
        prepare(hub, tmp_path, second)
        killed(hub, tmp_path, second, number, "after")
        if b"1.1.0" in hub.read(INDEX, "release.json"):
            finished += 1
            resume(client(hub), INDEX, replace(journal(tmp_path), path=tmp_path / f"empty-{number}" / "journal.sqlite"))
            check_exposed(hub)
            assert end_state(hub) == end
    assert finished > 5
