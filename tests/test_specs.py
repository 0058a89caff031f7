"""The example files: every file under specs/broken is refused with exactly the text beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from variantforge import Resolver, build_plan
from variantforge.errors import VariantforgeError
from variantforge.spec.load import read_family

SPECS = Path(__file__).parents[1] / "specs"
PLANNED = sorted(SPECS.glob("*.yaml"))
BROKEN = sorted((SPECS / "broken").glob("*.yaml"))


def check(path: Path) -> str:
    """What a user is told of a family file; '' when nothing is wrong with it."""
    try:
        build_plan(read_family(path), Resolver(cache=None))
    except VariantforgeError as error:
        return f"{error}\n"
    return ""


def test_there_are_files_that_plan() -> None:
    assert PLANNED


@pytest.mark.parametrize("path", PLANNED, ids=lambda path: path.stem)
def test_a_family_file_of_ours_loads_and_plans(path: Path) -> None:
    assert check(path) == ""


def test_there_are_many_broken_files() -> None:
    assert len(BROKEN) >= 35


def test_every_text_beside_a_broken_file_has_its_file() -> None:
    assert {path.stem for path in (SPECS / "broken").glob("*.txt")} <= {path.stem for path in BROKEN}


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_file_is_refused_with_its_golden_text(
    path: Path, golden: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    told = check(Path(path.name))
    assert told, f"{path.name} was accepted"
    golden(path.with_suffix(".txt"), told)
