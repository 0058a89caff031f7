from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.tiny import tokenizer_folder
from variantforge.stages.tokens import load_tokenizer


@pytest.fixture(scope="session")
def smollm2() -> Any:
    return load_tokenizer(tokenizer_folder())


@pytest.fixture
def tokenizer(smollm2: Any) -> Iterator[Any]:
    """SmolLM2's tokenizer; what a test does to its template lasts as long as the test."""
    template = smollm2.chat_template
    yield smollm2
    smollm2.chat_template = template
