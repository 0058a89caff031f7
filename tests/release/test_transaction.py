"""Releases on the local hub, spoken to by the real client."""

from __future__ import annotations

from pathlib import Path

from tests.localhub import LocalHub
from tests.localhub.fixtures import _localhub, hub  # noqa: F401
from tests.release.lab import (
    ADAPTER,
    GGUF,
    INDEX,
    MERGED,
    WEIGHTS,
    apply,
    changed,
    check_exposed,
    desired,
    planned,
    release_json,
)


def test_a_family_is_released_as_one(hub: LocalHub, tmp_path: Path) -> None:
    report = apply(hub, desired(tmp_path), tmp_path)
    check_exposed(hub)
    assert release_json(hub)["id"] == report.record.id
    assert hub.read(MERGED, "model.safetensors") == b"merged weights"
    assert report.wrote
    assert report.window_s > 0


def test_a_second_run_writes_nothing(hub: LocalHub, tmp_path: Path) -> None:
    apply(hub, desired(tmp_path), tmp_path)
    before = len(hub.writes)
    assert planned(hub, desired(tmp_path)).nothing_to_do
    assert not apply(hub, desired(tmp_path), tmp_path).wrote
    assert len(hub.writes) == before
