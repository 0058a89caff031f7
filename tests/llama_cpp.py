"""llama.cpp's own programs, which what we make is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from variantforge.stages.quantize.llama_cpp import find_program

BUILT = Path(__file__).parents[1] / ".cache" / "llama.cpp" / "bin"


def program(name: str) -> Path:
    """The one that ``make llama.cpp`` built, or one on ``PATH`` or under ``LLAMA_CPP_DIR``. Skips where none is."""
    found = BUILT / name if (BUILT / name).exists() else find_program(name)
    if found is None:
        pytest.skip(f"needs {name}: make llama.cpp")
    return found
