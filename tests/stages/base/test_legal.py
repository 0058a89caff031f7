"""The base's legal texts: found by name, brought as they are, and nothing of the model hangs on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import do_step
from tests.localhub import LocalHub
from tests.stages.base.desk import family, planned
from variantforge.errors import BaseError, IntegrityError
from variantforge.stages.base.legal import LEGAL, legal_files
from variantforge.stages.base.stage import STAGE
from variantforge.stages.stage import Place
from variantforge.step import Pin, Step


def laid(base: Path) -> tuple[Step, Step | None]:
    desk = planned(family(str(base)))
    assert desk.problems == []
    return desk.steps[Place("base", "v")], desk.steps.get(Place("base", "v", LEGAL))


def test_legal_texts_are_known_by_their_names(tmp_path: Path) -> None:
    good = ["LICENSE", "LICENSE-MODEL", "License.txt", "licence.md", "NOTICE", "Notice.txt", "USE_POLICY.md", "COPYING"]
    for name in [*good, "README.md", "license.py", "model.safetensors", "LICENSE.pdf"]:
        (tmp_path / name).write_text("x")
    (tmp_path / "LICENSES").mkdir()
    (tmp_path / "NOTICE-huge.txt").write_bytes(b" " * ((1 << 20) + 1))
    assert [path.name for path in legal_files(tmp_path)] == sorted(good)


def test_a_licence_that_is_added_makes_no_new_weights(copied: Path) -> None:
    base, none = laid(copied)
    assert none is None
    (copied / "LICENSE").write_text("one")
    same, first = laid(copied)
    (copied / "LICENSE").write_text("two")
    assert first is not None
    other = laid(copied)[1]
    assert other is not None
    assert same.key == base.key
    assert other.key != first.key


def test_the_texts_are_brought_as_they_are(copied: Path, tmp_path: Path) -> None:
    (copied / "LICENSE").write_text("agreement ©\n")
    (copied / "USE_POLICY.md").write_text("policy\n")
    step = laid(copied)[1]
    assert step is not None
    done = do_step(STAGE, step, tmp_path / "store", {})
    assert done.facts == {"files": ["LICENSE", "USE_POLICY.md"]}
    assert (done.path / "legal" / "LICENSE").read_text() == "agreement ©\n"
    (copied / "LICENSE").write_text("another\n")
    with pytest.raises(IntegrityError, match="changed since the plan was made"):
        do_step(STAGE, step, tmp_path / "again", {})


def test_what_is_no_text_is_an_error(copied: Path, tmp_path: Path) -> None:
    (copied / "LICENSE").write_bytes(b"\xff\xfe\x00text")
    step = laid(copied)[1]
    assert step is not None
    with pytest.raises(BaseError, match="LICENSE of the base cannot be read as text"):
        do_step(STAGE, step, tmp_path / "store", {})


def test_the_texts_of_a_base_on_the_hub_come_from_its_commit(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("acme/base")
    files = {"LICENSE": "agreement", "Notice.txt": "notice", "config.json": "{}"}
    operations = [CommitOperationAdd(name, text.encode()) for name, text in files.items()]
    commit = api.create_commit("acme/base", operations, commit_message="base").oid
    step = Step("base", 1, LEGAL, pins={"model": Pin(f"hub:{commit}", f"hub:acme/base@{commit}")})
    done = do_step(STAGE, step, tmp_path / "store", {})
    assert done.facts == {"files": ["LICENSE", "Notice.txt"]}
    assert (done.path / "legal" / "Notice.txt").read_text() == "notice"
