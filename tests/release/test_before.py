"""What the release before measured, fetched from the Hub: the one that stands, by its digests, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.localhub import LocalHub
from tests.release.lab import INDEX, apply, client, desired, journal
from variantforge.errors import IntegrityError
from variantforge.hashing import text_digest
from variantforge.release.before import kept_before, outcomes_before
from variantforge.release.desired import Desired, File
from variantforge.release.promote import plan_rollback
from variantforge.release.transaction import release

NAME = "code.heldout.nf4.jsonl"


def wanted(folder: Path, version: str, *, measured: bool = True) -> Desired:
    """A release of the toys beside whose page stands what was measured."""
    made = desired(folder, version, cards={INDEX: f"# Toys {version}"})
    if not measured:
        return made
    path = folder / version / NAME
    path.write_text(f"figures of {version}\n")
    file = File(path, text_digest(path.read_text()), path.stat().st_size)
    return replace(made, index=replace(made.index, files={**made.index.files, f"evaluations/{NAME}": file}))


def before(hub: LocalHub, folder: Path, version: str) -> dict[str, dict[str, str]]:
    """Version -> file -> text, of what is found."""
    root = outcomes_before(client(hub), INDEX, "stable", version, folder / "previous")
    there = sorted(root.iterdir()) if root.is_dir() else []
    return {path.name: {file.name: file.read_text() for file in path.iterdir()} for path in there}


@pytest.mark.slow
def test_there_is_nothing_before_the_first_release(hub: LocalHub, tmp_path: Path) -> None:
    assert before(hub, tmp_path, "1.0.0") == {}
    apply(hub, wanted(tmp_path, "1.0.0"), tmp_path)
    assert before(hub, tmp_path, "1.0.0") == {}


def test_the_release_that_stands_is_the_one_before_also_once_this_one_stands(hub: LocalHub, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        apply(hub, wanted(tmp_path, version), tmp_path)
    assert before(hub, tmp_path, "1.2.0") == {"1.1.0": {NAME: "figures of 1.1.0\n"}}
    apply(hub, wanted(tmp_path, "1.2.0"), tmp_path)
    assert before(hub, tmp_path, "1.2.0") == {"1.1.0": {NAME: "figures of 1.1.0\n"}}
    assert before(hub, tmp_path, "1.1.0") == {"1.0.0": {NAME: "figures of 1.0.0\n"}}


@pytest.mark.slow
def test_a_release_that_was_taken_back_is_not_compared_with(hub: LocalHub, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        apply(hub, wanted(tmp_path, version), tmp_path)
    release(plan_rollback(client(hub), INDEX, "1.0.0", "stable"), client(hub), journal(tmp_path))
    assert before(hub, tmp_path, "1.2.0") == {"1.0.0": {NAME: "figures of 1.0.0\n"}}


@pytest.mark.slow
def test_a_release_of_a_time_without_figures_is_known_by_its_version(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, wanted(tmp_path, "1.0.0", measured=False), tmp_path)
    assert before(hub, tmp_path, "1.1.0") == {"1.0.0": {}}


def test_what_was_fetched_is_not_fetched_again_and_serves_without_the_hub(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, wanted(tmp_path, "1.0.0"), tmp_path)
    found = before(hub, tmp_path, "1.1.0")
    asked = len([entry for entry in hub.log if "evaluations" in entry.path])
    assert asked > 0
    assert before(hub, tmp_path, "1.1.0") == found
    assert len([entry for entry in hub.log if "evaluations" in entry.path]) == asked
    kept = kept_before("1.1.0", tmp_path / "previous")
    assert kept is not None
    assert [path.name for path in kept.iterdir()] == ["1.0.0"]
    assert kept_before("1.3.0", tmp_path / "previous") is None


def test_figures_that_are_not_the_released_ones_are_refused(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(hub, wanted(tmp_path, "1.0.0"), tmp_path)
    speaker = client(hub)
    read = speaker.read
    swapped = {f"evaluations/{NAME}": b"figures that somebody liked better\n"}
    monkeypatch.setattr(
        speaker, "read", lambda repo, revision, path, *more: swapped.get(path) or read(repo, revision, path, *more)
    )
    with pytest.raises(IntegrityError, match="is not what was released"):
        outcomes_before(speaker, INDEX, "stable", "1.1.0", tmp_path / "previous")
    assert not list((tmp_path / "previous").rglob("*.jsonl"))
