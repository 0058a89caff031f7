from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Two layers give a second thread nothing to do but wait, and waiting is what a loaded machine is bad at."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_llama(small_llama: Path) -> Path:
    """No test of training asks llama.cpp."""
    return small_llama
