"""Families with known figures, made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.report.browser import Browser, require, started
from tests.report.shelves import Demo, shared
from variantforge.report import Report, gather


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Everything of it is there. Read only."""
    return shared(tmp_path_factory)


@pytest.fixture(scope="session")
def told(demo: Demo) -> Report:
    return gather(demo.plan, demo.store)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium."""
    require()
    with started(tmp_path_factory.mktemp("chromium")) as page:
        yield page
