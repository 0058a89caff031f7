"""``vf report``: the file, the document, and what stands in the way of writing it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.conftest import Vf
from tests.report.shelves import Demo


def test_one_file_is_written_and_named(vf: Vf, demo: Demo, tmp_path: Path) -> None:
    ended = vf("report", demo.file)
    assert (ended.code, ended.err.count("error")) == (0, 0)
    assert ended.out.startswith("report: report.html (")
    count = len(demo.plan.steps)
    assert f"{count} of {count} steps are here" in ended.out
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_json_is_the_same_as_data_and_writes_no_file(vf: Vf, demo: Demo, tmp_path: Path) -> None:
    told = json.loads(vf("report", demo.file, "--json").out)
    assert (told["family"], told["summary"]["variants"]) == ("demo", 3)
    assert not (tmp_path / "report.html").exists()


def test_what_is_missing_comes_with_the_command_that_makes_it(vf: Vf, demo: Demo, tmp_path: Path) -> None:
    ended = vf("report", demo.file, "--store", tmp_path / "empty", "-o", "half.html")
    assert ended.code == 0
    assert "0 of " in ended.out
    assert ended.out.endswith(f"next: vf apply {demo.file} --store {tmp_path / 'empty'}\n")
    assert f"vf apply {demo.file}" in (tmp_path / "half.html").read_text()


def test_a_place_that_cannot_hold_the_file_is_told(vf: Vf, demo: Demo, tmp_path: Path) -> None:
    ended = vf("report", demo.file, "-o", tmp_path)
    assert (ended.code, ended.err.splitlines()[-1]) == (2, "next: name the file to write: -o report.html")
    ended = vf("report", demo.file, "-o", "deep/down.html")
    assert (ended.code, ended.err.splitlines()[-1]) == (2, "next: mkdir -p deep")


def test_a_damaged_journal_is_a_letter(vf: Vf, demo: Demo, tmp_path: Path) -> None:
    shutil.copytree(demo.store.root, tmp_path / "store")
    (tmp_path / "store" / "journal.sqlite").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    ended = vf("report", demo.file, "--store", tmp_path / "store")
    assert ended.code == 6
    assert "journal.sqlite is damaged" in ended.err
