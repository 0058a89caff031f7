"""The Hub of our own, spoken to by ours, in waits that take no time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.localhub import LocalHub
from variantforge import redact
from variantforge.release.hub import Hub

REPO = "acme/one"
Speak = Callable[..., Hub]


class Heard:
    """What a Hub said while it waited, and how long it would have waited."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.seconds = 0.0

    def pause(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No credentials but those a test gives."""
    for name in [name for name in os.environ if redact.is_secret(name) or name.startswith(("HF_OIDC", "ACTIONS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(redact, "_learned", set())
    return


@pytest.fixture
def speak(hub: LocalHub, heard: Heard, bare: None) -> Speak:
    """``speak()``: ours with alice's token; what is given goes to ``Hub``."""

    def made(**options: Any) -> Hub:
        given = {"endpoint": hub.endpoint, "token": hub.token, "tell": heard.told.append, "pause": heard.pause}
        return Hub(**{**given, **options})

    return made


@pytest.fixture
def ours(speak: Speak) -> Hub:
    """Ours, with the private repo ``acme/one``."""
    made = speak()
    made.create_repo(REPO)
    return made


@pytest.fixture
def head(ours: Hub) -> str:
    found = ours.head(REPO, "main")
    assert found
    return found


@pytest.fixture(params=["lfs", "xet"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How large files travel."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", request.param == "lfs")
    return str(request.param)
