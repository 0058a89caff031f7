"""Shared fixtures: tiny real models, built once and kept between runs."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.localhub.fixtures import _localhub, hub  # noqa: F401

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # two test processes share two cores
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("XDG_CACHE_HOME", str(Path(__file__).parents[1] / ".cache" / "xdg"))  # not the user's own


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was collected stays to the end: trainers call the garbage collector often, and it need not walk all that."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """``golden(path, text)``: the file holds exactly this text; with ``--update-golden`` it is rewritten."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"{path} is not there yet: read the new text, then run pytest --update-golden"
        assert text == path.read_text()

    return compare


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with SmolLM2's tokenizer and ChatML template, as the Hub would hold it. Read only."""
    from tests.tiny import tiny_model

    made = tiny_model(tmp_path_factory.mktemp("tiny") / "llama")
    gc.collect()
    gc.freeze()  # torch and transformers have come
    return made


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with few tokens, which costs half as much: where llama.cpp is not asked. Read only."""
    from tests.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("small") / "llama", small=True)


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Qwen3 with untied embeddings. Read only."""
    from tests.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("tiny") / "qwen3", "qwen3", tied=False)
