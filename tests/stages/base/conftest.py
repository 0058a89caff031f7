from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with a vocabulary of bytes. Read only."""
    from tests.stages.base.small import small_model

    return small_model(tmp_path_factory.mktemp("small") / "llama")


@pytest.fixture
def copied(small: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(small, tmp_path / "copied")
