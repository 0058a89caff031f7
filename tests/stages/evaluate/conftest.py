"""A family of tiny subjects, made once: a base, other weights of it, and those in NF4 and as GGUF."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.evaluate.subjects import (
    chats,
    data_artifact,
    gguf_artifact,
    model_artifact,
    nf4_artifact,
    nudged,
    sharpened,
)
from variantforge.step import Artifact

ROWS = 12


@pytest.fixture(scope="session")
def subjects_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("subjects")


@pytest.fixture(scope="session")
def base(subjects_root: Path, tiny_llama: Path) -> Artifact:
    return model_artifact(subjects_root, "base", sharpened(tiny_llama, subjects_root / "sharpened"))


@pytest.fixture(scope="session")
def merged(subjects_root: Path, base: Artifact) -> Artifact:
    return model_artifact(subjects_root, "merged", nudged(base.path / "model", subjects_root / "nudged", 0.2))


@pytest.fixture(scope="session")
def data(subjects_root: Path) -> Artifact:
    return data_artifact(subjects_root, chats(ROWS))


@pytest.fixture(scope="session")
def nf4(subjects_root: Path, merged: Artifact) -> Artifact:
    return nf4_artifact(subjects_root, "nf4", merged)


@pytest.fixture(scope="session")
def gguf(subjects_root: Path, merged: Artifact) -> Artifact:
    return gguf_artifact(subjects_root, "q8_0", merged, "Q8_0")
