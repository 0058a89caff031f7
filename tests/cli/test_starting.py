"""``vf init``, ``vf check`` and ``vf schema``: from an empty folder to a file that holds."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Vf


def test_the_starter_file_is_right_as_it_is(vf: Vf, tmp_path: Path) -> None:
    assert vf("init") == (0, "ok: wrote family.yaml\nnext: vf plan\n", "")
    ended = vf("check")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("ok: 1 variant, ")
    assert "0 blocked" in vf("plan").out


def test_an_existing_file_is_never_touched(vf: Vf, tmp_path: Path) -> None:
    (tmp_path / "family.yaml").write_text("mine")
    ended = vf("init")
    assert ended.code == 2
    assert ended.err.startswith("error: family.yaml is there already\n")
    assert (tmp_path / "family.yaml").read_text() == "mine"


def test_a_link_to_nowhere_is_not_followed(vf: Vf, tmp_path: Path) -> None:
    (tmp_path / "family.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert vf("init").code == 2
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_another_name_stays_in_the_next_command(vf: Vf, tmp_path: Path) -> None:
    assert vf("init", "families/qwen.yaml").out.endswith("next: vf plan families/qwen.yaml\n")
    assert (tmp_path / "families" / "qwen.yaml").exists()


def test_a_plan_keeps_digests_for_the_next_and_does_without_where_it_cannot(vf: Vf, tmp_path: Path) -> None:
    vf("init")
    (tmp_path / ".variantforge" / "pins.json").mkdir(parents=True)
    assert vf("plan").code == 0
    (tmp_path / ".variantforge" / "pins.json").rmdir()
    shutil.rmtree(tmp_path / ".variantforge" / "plans", ignore_errors=True)  # a remembered plan reads nothing again
    assert vf("plan").code == 0
    assert "SmolLM2" in (tmp_path / ".variantforge" / "pins.json").read_text()


def test_a_long_read_is_told_once(vf: Vf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("variantforge.cli.opening.LONG_READ_BYTES", 50_000_000)
    vf("init")
    assert re.search(r"^reading \S+SmolLM2\S+ \(\d+\.\d MB\) once", vf("plan").err, re.MULTILINE)
    assert vf("plan").err == ""


def test_check_counts_what_it_found_right(vf: Vf) -> None:
    vf("init")
    found = json.loads(vf("check", "--json").out)
    assert found["ok"] is True
    assert (found["family"], found["variants"]) == ("my-family", 1)
    assert found["steps"] > 10


def test_check_finds_what_only_the_plan_can_know(vf: Vf, tmp_path: Path) -> None:
    vf("init")
    text = (tmp_path / "family.yaml").read_text()
    (tmp_path / "family.yaml").write_text(text.replace("json, email", "jsno, email").replace("gguf:Q8_0", "gguf:Q9_9"))
    ended = vf("check")
    assert ended.code == 2
    assert "jsno" in ended.err
    assert "Q9_9" in ended.err
    assert "error: 2 problems found; nothing was run." in ended.err


def test_the_schema_is_printed_or_written(vf: Vf, tmp_path: Path) -> None:
    printed = json.loads(vf("schema").out)
    assert printed["properties"]["variants"]
    assert vf("schema", "--write", "schema.json") == (0, "ok: wrote schema.json\n", "")
    assert json.loads((tmp_path / "schema.json").read_text()) == printed


def test_a_schema_that_cannot_be_written_is_told(vf: Vf, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = vf("schema", "--write", "file/schema.json")
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert "Nobody expected" not in ended.err


@pytest.mark.parametrize("content", ["", "- a\n", "family: [\n", "\x00"])
def test_no_file_brings_a_trace(vf: Vf, tmp_path: Path, content: str) -> None:
    (tmp_path / "family.yaml").write_text(content)
    for command in ("check", "plan", "apply", "show"):
        ended = vf(command)
        assert ended.code == 2
        assert re.match(r"family.yaml:\d+:\d+  ", ended.err)
        assert "Traceback" not in ended.err
