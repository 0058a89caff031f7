"""The fixture ``hub``: one server for the whole run, empty at the start of each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.localhub.hub import LocalHub


@pytest.fixture(scope="session")
def _localhub() -> Iterator[LocalHub]:
    with LocalHub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpcore2.default_ssl_context", certificates_read_once())
        yield hub


def certificates_read_once() -> Any:
    """Each client reads this machine's certificates (30 ms), and a hub of ours is spoken to without any."""
    import httpcore2

    read: dict[tuple[str | None, ...], Any] = {}
    real = httpcore2.default_ssl_context

    def context(**options: Any) -> Any:
        asked = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"), str(options))
        if asked not in read:
            read[asked] = real(**options)
        return read[asked]

    return context


def forget_xet_addresses() -> None:
    """The client remembers for an hour where a repo's Xet storage is; an emptied hub has it elsewhere."""
    from huggingface_hub.utils import _xet

    _xet.XET_CONNECTION_INFO_CACHE.clear()


def _forget_client() -> None:
    """What a release has set for its requests, in this process, is not for the next test."""
    from huggingface_hub.utils._http import default_client_factory, set_client_factory

    set_client_factory(default_client_factory)


@pytest.fixture
def hub(_localhub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """An empty hub; after the test it must not have crashed, and no token may have reached the storage.

    The client in this process may go online for the test, and this hub is the one it knows (without a token: pass
    ``HfApi(token=hub.token)``). Child processes take ``os.environ | hub.env(tmp_path)``.
    """
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", _localhub.endpoint)
    files = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", _localhub.endpoint + files)
    _localhub.reset()
    forget_xet_addresses()
    yield _localhub
    _forget_client()
    _localhub.settle()
    assert not _localhub.crashes, "\n\n".join(_localhub.crashes)
    assert not _localhub.leaks, "\n".join(_localhub.leaks)
