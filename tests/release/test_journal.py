"""What this machine remembers of releases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.release.lab import journal
from tests.release.test_record import RECORD
from variantforge.errors import IntegrityError, VariantforgeError
from variantforge.release.journal import Releases


def test_phases_and_windows_are_remembered(tmp_path: Path) -> None:
    log = journal(tmp_path)
    for phase in ("stage", "verify", "commit", "expose", "tidy", "done"):
        log.enter(RECORD, phase)
    log.window(RECORD, 1.5)
    (row,) = log.history("toys")
    assert (row["id"], row["version"], row["phase"], row["window_s"]) == (RECORD.id, "1.2.0", "done", 1.5)
    assert log.history("others") == []


def test_commits_are_counted_for_the_hour(tmp_path: Path) -> None:
    log = journal(tmp_path)
    log.committed(RECORD, "acme/x", "stage", "1" * 40)
    log.committed(RECORD, "acme/x", "stage", "1" * 40)
    log.committed(RECORD, "acme/x", "expose", "2" * 40)
    times = log.commit_times(0)
    assert len(times) == 2
    assert log.commit_times(times[-1]) == []


def test_a_window_goes_on_only_where_it_was_interrupted(tmp_path: Path) -> None:
    log = journal(tmp_path)
    log.enter(RECORD, "expose")
    assert log.exposing_since(RECORD) is None
    log.committed(RECORD, "acme/x", "expose", "1" * 40)
    began = log.exposing_since(RECORD)
    assert began is not None
    log.enter(RECORD, "expose")  # the next run of the same release
    assert log.exposing_since(RECORD) == began
    assert log.exposing_since(replace(RECORD, version="9.9.9")) is None
    log.enter(RECORD, "done")
    assert log.exposing_since(RECORD) is None
    log.enter(RECORD, "expose")  # drift is mended much later
    assert log.exposing_since(RECORD) is None


def test_a_commit_is_verified_once(tmp_path: Path) -> None:
    log = journal(tmp_path)
    assert not log.was_verified("acme/x", "1" * 40)
    log.verified("acme/x", "1" * 40)
    assert Releases(log.path).was_verified("acme/x", "1" * 40)


def test_looking_writes_nothing_and_finds_nothing_where_there_is_no_journal(tmp_path: Path) -> None:
    log = Releases(tmp_path / "store" / "releases.sqlite")
    assert (log.history("toys"), log.commit_times(0), log.adopted("acme/x")) == ([], [], frozenset())
    assert (log.exposing_since(RECORD), log.was_verified("acme/x", "1" * 40)) == (None, False)
    assert list(tmp_path.iterdir()) == []
    log.enter(RECORD, "stage")
    log.path.parent.chmod(0o555)
    log.path.chmod(0o444)
    assert [row["phase"] for row in log.history("toys")] == ["stage"]
    assert [path.name for path in log.path.parent.iterdir()] == ["releases.sqlite"]


def test_a_damaged_journal_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "releases.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(IntegrityError) as caught:
        Releases(path).history("toys")
    assert caught.value.next == f"rm {path}"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "releases.sqlite").mkdir()
    with pytest.raises(VariantforgeError, match="cannot use"):
        Releases(tmp_path / "releases.sqlite").enter(RECORD, "stage")
