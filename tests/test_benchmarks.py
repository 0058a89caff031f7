"""Scripts that nobody runs every day: each starts from the repository's root, and says how."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted(path.stem for path in Path("benchmarks").glob("*.py") if "__main__" in path.read_text())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_is_imported_as_it_is_run_and_tells_its_command(name: str) -> None:
    script = importlib.import_module(f"benchmarks.{name}")
    assert callable(script.main)
    assert f"python -m benchmarks.{name}" in str(script.__doc__)
