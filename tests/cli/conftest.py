"""Commands run in this process: what they print, and the code they end with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.toys import Toy, family_text
from tests.report.shelves import Demo, shared
from variantforge.cli.app import main
from variantforge.stages import PIPELINE, STAGES


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Vf = Callable[..., Ended]


@pytest.fixture
def vf(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vf:
    """``vf("plan", "--all")``: one command line in an empty folder, 100 columns wide, without colour."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("FORCE_COLOR", "VARIANTFORGE_STORE", "VARIANTFORGE_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.argv", ["vf"])

    def run(*words: object) -> Ended:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A family of which everything is made. Read only."""
    return shared(tmp_path_factory)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Toy]:
    """The whole pipeline with stages that only write facts, and a family.yaml of two variants."""
    stages = {name: Toy(name) for name in PIPELINE}
    for name, stage in stages.items():
        monkeypatch.setitem(STAGES._loaded, name, stage)
    (tmp_path / "family.yaml").write_text(family_text())
    (tmp_path / "rows.jsonl").write_text('{"text": "x"}\n')
    return stages
