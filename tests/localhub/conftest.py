"""The real client, pointed at the hub, by LFS and by Xet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.localhub import LocalHub

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Write = Callable[..., str]


@pytest.fixture
def api(hub: LocalHub) -> HfApi:
    """The client with alice's token; ``acme/x`` is there."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("acme/x")
    return api


@pytest.fixture(params=["lfs", "xet"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How large files travel: by LFS, or by Xet as the client does when nothing is said."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", request.param == "lfs")
    return str(request.param)


@pytest.fixture
def by_lfs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


@pytest.fixture
def write(api: HfApi) -> Write:
    """``write("a.txt"=b"...")`` by ``{path: content}``, as one commit of the real client; its id."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    def commit(files: dict[str, bytes | None], repo: str = "acme/x", **how: str) -> str:
        operations = [
            CommitOperationDelete(path) if content is None else CommitOperationAdd(path, content)
            for path, content in files.items()
        ]
        how.setdefault("commit_message", "A change")
        return str(api.create_commit(repo, operations, **how).oid)  # type: ignore[call-overload]

    return commit
