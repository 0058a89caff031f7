"""A reader sees the old file or the new one; a full disk is a letter, not a traceback."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from variantforge import fsops
from variantforge.errors import OutOfSpace, VariantforgeError


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Makes the disk fail with an errno at a named crossing."""

    def fail(name: str, number: int) -> None:
        def crossing(at: str, path: Path) -> None:
            if at == name:
                raise OSError(number, "planted", str(path))

        monkeypatch.setattr(fsops, "crossing", crossing)

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("at", ["write", "replace"])
def test_a_full_disk_keeps_the_old_file_and_names_the_path(tmp_path: Path, failing, at: str, number: int) -> None:
    file = tmp_path / "state.json"
    fsops.write_text(file, "old")
    failing(at, number)
    with pytest.raises(OutOfSpace, match=r"state\.json") as caught:
        fsops.write_text(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert caught.value.next


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_place_is_named(tmp_path: Path, failing, number: int) -> None:
    failing("write", number)
    with pytest.raises(VariantforgeError, match="cannot write"):
        fsops.write_text(tmp_path / "x", "new")


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target, built = tmp_path / "repo", tmp_path / "building"
    for folder, text in ((target, "old"), (built, "new")):
        folder.mkdir()
        (folder / "file").write_text(text)
    (target / "stale").write_text("x")
    fsops.move_in(built, target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"file": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]


def test_an_error_inside_a_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), fsops.writing(tmp_path / "x") as file:
        file.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
