"""Shared fixtures: tiny real models, built once and kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with SmolLM2's tokenizer and ChatML template, as the Hub would hold it. Read only."""
    from tests.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Qwen3 with untied embeddings. Read only."""
    from tests.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("tiny") / "qwen3", "qwen3", tied=False)
