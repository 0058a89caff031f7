"""A finished step is whole or absent, checked when it is read, and there is one writer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from variantforge.errors import IntegrityError, Locked
from variantforge.step import Step
from variantforge.store.artifacts import Store
from variantforge.store.manifest import MANIFEST, Manifest

STEP = Step("train", 1, "sft", {"lr": 1e-4})


def made(store: Store, step: Step = STEP, text: str = "weights") -> Path:
    with store.building(step) as (out, _):
        (out / "adapter").mkdir()
        (out / "adapter" / "weights").write_text(text)
        (out / "facts.json").write_text("{}")
        return store.commit(step, out, {}).path


def test_an_artifact_appears_whole_with_a_manifest_of_every_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find(STEP) is None
    folder = made(store)
    manifest = Manifest.read(folder)
    assert {entry.path for entry in manifest.files} == {"adapter/weights", "facts.json"}
    assert manifest.step == STEP.identity
    assert store.find(STEP) is not None
    assert store.keys("train") == {STEP.key}


def test_what_raises_while_building_leaves_nothing_but_the_scratch_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.building(STEP) as (out, scratch):
        (out / "half").write_text("x")
        (scratch / "checkpoint").write_text("kept for the next try")
        raise RuntimeError
    assert list((tmp_path / "train").iterdir()) == []
    with store.building(STEP) as (_, scratch):
        assert (scratch / "checkpoint").read_text() == "kept for the next try"


def test_a_finished_step_gives_its_scratch_folder_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made(store)
    assert not store.scratch(STEP).exists()


def test_a_folder_without_manifest_is_not_an_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (made(store) / MANIFEST).unlink()
    assert store.find(STEP) is None


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.write_text("weightz"), "other bytes"),
        (lambda path: path.write_text("weight"), "6 bytes, not 7"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_damaged_bytes_are_named_and_moved_aside(tmp_path: Path, damage, told: str) -> None:
    damage(made(Store(tmp_path)) / "adapter" / "weights")
    with pytest.raises(IntegrityError, match=told):
        Store(tmp_path).verified(STEP)
    assert Store(tmp_path).find(STEP) is None
    assert len(list((tmp_path / "damaged").iterdir())) == 1


def test_leftovers_of_killed_writers_are_swept_under_the_lock(tmp_path: Path) -> None:
    store = Store(tmp_path)
    leftover = tmp_path / "train" / "abc.tmp-1234"
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("x")
    with store.locked():
        assert not leftover.exists()


def test_a_kill_right_after_an_artifact_appeared_leaves_no_scratch_folder_for_ever(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made(store)
    other = Step("train", 1, "sft", {"lr": 2e-4})
    for step in (STEP, other):
        store.scratch(step).mkdir(parents=True)
    with store.locked():
        assert not store.scratch(STEP).exists()
        assert store.scratch(other).exists()


def test_a_second_writer_is_told_at_once_who_holds_the_store(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from variantforge.store.artifacts import Store\n"
        "with Store(Path(sys.argv[1])).locked('vf apply family.yaml'): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Locked) as caught, Store(tmp_path).locked():
            pass
        assert f"process {holder.pid}" in str(caught.value)
        assert "vf apply family.yaml" in str(caught.value)
        assert caught.value.exit_code == 8
    finally:
        holder.kill()
        holder.communicate()
    with Store(tmp_path).locked():  # the lock died with its holder
        assert json.loads((tmp_path / "holder.json").read_text())["pid"] != holder.pid
