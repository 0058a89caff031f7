"""The life of a release, by the commands themselves, in processes of their own: made, lost, imported, edited, mended,
promoted, rolled back. Tiny real models, the local hub, the real client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.family import write_family
from tests.localhub import LocalHub
from tests.localhub.hub import STRANGER

INDEX = "acme/tiny"
PUBLISH = "{to: hub, namespace: acme, repo: 'Tiny-{variant}', collection: Tiny ones, artifacts: [adapter, merged, nf4]}"


class Vf:
    """``vf(...)`` in a process of its own, in the family's folder."""

    def __init__(self, folder: Path, hub: LocalHub) -> None:
        self.folder = folder
        self.env = os.environ | hub.env(folder / "home") | {"COLUMNS": "140"}
        self.env |= {"OMP_NUM_THREADS": "1", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}

    def __call__(self, *words: str, code: int = 0, token: str | None = None) -> str:
        env = self.env | ({"HF_TOKEN": token} if token is not None else {})
        command = [sys.executable, "-m", "variantforge", *words]
        ended = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert ended.returncode == code, f"{words}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr
        return ended.stdout if code == 0 or "--json" in words or "--markdown" in words else ended.stdout + ended.stderr

    def json(self, *words: str, code: int = 0, token: str | None = None) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self(*words, "--json", code=code, token=token))
        return document


def family(folder: Path, base: Path, version: str, description: str = "", channel: str = "stable") -> None:
    file = write_family(folder, base, description=description)
    publish = PUBLISH.replace("namespace", f"channel: {channel}, namespace")
    text = file.read_text().replace("publish: {path: ./published}", f"publish: {publish}\nversion: {version}")
    start, end = text.index("  qlora:"), text.index("evaluate:")
    file.write_text((text[:start] + text[end:]).replace(', "gguf:Q8_0", "gguf:Q4_K_M"', ""))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_life_of_a_release(hub: LocalHub, tiny_llama: Path, tmp_path: Path) -> None:
    family(tmp_path, tiny_llama, "1.0.0")
    vf = Vf(tmp_path, hub)
    vf("lock")
    vf("apply", "--yes")
    assert vf("verify", INDEX, token="").count("ok ") == 4
    assert "is what it says" in vf("verify", f"{INDEX}@1.0.0", "--download", token="")

    # another machine: no store, no lock
    shutil.rmtree(tmp_path / ".variantforge")
    (tmp_path / "variantforge.lock").rename(tmp_path / "lock.before")
    written = len(hub.writes)
    imported = vf.json("import")
    assert (imported["fetched"], imported["missing"]) == (3, [])
    assert imported["lock"] == {"path": "variantforge.lock", "same_as_released": True}
    assert (tmp_path / "variantforge.lock").read_text() == (tmp_path / "lock.before").read_text()
    planned = vf.json("plan")
    assert planned["summary"]["run"] == 0, planned
    assert {step["decision"] for step in planned["steps"] if step["stage"] == "publish"} == {"reuse"}
    vf("apply", "--yes")
    assert not vf.json("drift")["drift"]
    assert len(hub.writes) == written

    # without the family file: the state, and which family it is
    elsewhere = Vf(tmp_path / "elsewhere", hub)
    elsewhere.folder.mkdir()
    assert "it is the family tiny" in elsewhere("import", "--index", INDEX)
    assert [path.name for path in elsewhere.folder.iterdir()] == [".variantforge"]
    assert elsewhere("drift", "--index", INDEX).startswith("no drift:")

    # a stranger edits a card and deletes a file
    card = hub.read("acme/Tiny-lora", "README.md")
    hub.commit_as_stranger(
        "acme/Tiny-lora", {"README.md": card.replace(b"# Tiny-lora", b"# Mine"), "config.json": None}
    )
    found = vf.json("drift", code=4)
    assert {(it["kind"], it["repo"], it["who"]) for it in found["findings"] if it["drift"]} == {
        ("edited_card", "acme/Tiny-lora", STRANGER),
        ("deleted_file", "acme/Tiny-lora", STRANGER),
    }
    summary = vf("drift", "--markdown", code=4)
    assert (tmp_path / "summary.md").read_text() == summary
    assert "nobody is here to say yes" in vf("apply", code=7)
    vf("apply", "--yes")
    assert "no drift:" in vf("drift")

    # the data moves away from the lock
    rows = (tmp_path / "rows.jsonl").read_text()
    (tmp_path / "rows.jsonl").write_text(rows.replace("Which", "What", 1))
    found = vf.json("drift", code=4)
    assert [(it["kind"], it["next"]) for it in found["findings"] if it["drift"]] == [
        ("moved_data", "vf lock --upgrade data")
    ]
    assert "not_applied" in {it["kind"] for it in found["findings"]}
    (tmp_path / "rows.jsonl").write_text(rows)

    # a candidate that changes cards alone, promoted, taken back
    family(tmp_path, tiny_llama, "1.1.0", "Answers in one word.", channel="candidate")
    vf("apply", "--yes")
    vf("promote", "candidate", "stable", "--yes")
    assert json.loads(hub.read(INDEX, "release.json"))["version"] == "1.1.0"
    assert "nothing newer" in vf("promote", "candidate", "stable", code=2)
    family(tmp_path, tiny_llama, "1.1.0", "Answers in one word.")
    vf("rollback", "1.0.0", "--yes")
    assert json.loads(hub.read(INDEX, "release.json"))["version"] == "1.0.0"
    assert "write 'version: 1.1.1'" in vf("plan")
    assert "1.1.0 was taken back" in vf("apply", "--yes", code=2)
    assert "1.1.0 was taken back" in vf("plan")
    assert "took 1.1.0 back" in vf("drift")
    vf("verify", f"{INDEX}@1.1.0", token="")

    vf("retire", "acme/Tiny-lora-nf4", "--new-version", "acme/Tiny-lora", "--yes")
    assert b"new_version: acme/Tiny-lora\n" in hub.read("acme/Tiny-lora-nf4", "README.md")
    assert not vf.json("drift")["drift"]
