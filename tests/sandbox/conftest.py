"""Real sandboxes: what needs one is skipped, with the command to type, where none can be made."""

from __future__ import annotations

import pytest

from variantforge.errors import SandboxMissing
from variantforge.sandbox import require


@pytest.fixture(scope="session")
def sandbox() -> None:
    try:
        require()
    except SandboxMissing as error:
        pytest.skip(f"{error.why}; type: {error.next}")
