"""What the Hub says of a locked repo: where a revision points now, and which files a commit holds.

Asks for metadata alone; no file is fetched. Every function raises HubError as ``Hub`` does: NotOnHub or NoAccess when
the Hub does not show the repo to this user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from variantforge.errors import HubError
from variantforge.plan.pin import RepoType
from variantforge.release.hub.client import Hub
from variantforge.release.hub.wire import AGENT

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TIMEOUT_S = 10.0
_MAX_FILES = 200_000  # of one repo; the Hub advises against half as many


def head_of(hub: Hub, name: str, repo_type: RepoType, revision: str) -> str | None:
    """The commit that a branch, tag or commit stands for now; None when the repo has no such revision."""

    def ask(api: HfApi) -> str | None:
        from huggingface_hub.errors import RevisionNotFoundError

        try:
            info = api.repo_info(
                name, revision=revision, repo_type=repo_type, timeout=_TIMEOUT_S, token=hub.user_token()
            )
        except RevisionNotFoundError:
            return None
        return info.sha

    return hub.ask(f"asking where {name}@{revision} points", ask)


def files_at(hub: Hub, name: str, repo_type: RepoType, commit: str) -> dict[str, str] | None:
    """Path -> ``sha256:`` of its bytes, or ``git:`` and the blob id of a file that is not stored as LFS or Xet.

    None when the repo has no such commit.
    """

    def ask(api: HfApi) -> dict[str, str] | None:
        from huggingface_hub.errors import RevisionNotFoundError

        try:
            return dict(_listing(hub, f"{hub.endpoint}/api/{repo_type}s/{name}/tree/{commit}?recursive=true"))
        except RevisionNotFoundError:
            return None

    return hub.ask(f"listing the files of {name} at {commit}", ask)


def _listing(hub: Hub, page: str) -> Iterator[tuple[str, str]]:
    """Every file of a tree, page by page. ``HfApi.list_repo_tree`` asks again for 23 s when nobody answers, and waits
    for an answer as long as it takes."""
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    headers, count = build_hf_headers(token=hub.user_token(), library_name=AGENT), 0
    while page:
        if not page.startswith(f"{hub.endpoint}/"):
            raise HubError("the Hub sends the reader of a listing to another server", why=page)
        reply = get_session().get(page, headers=headers, timeout=_TIMEOUT_S)
        hf_raise_for_status(reply)
        for entry in reply.json():
            if entry["type"] == "file":
                yield str(entry["path"]), _digest(entry)
                count += 1
        if count > _MAX_FILES:
            raise HubError(f"a listing of more than {_MAX_FILES:,} files is not read")
        page = str(reply.links.get("next", {}).get("url", ""))


def _digest(entry: Mapping[str, Any]) -> str:
    return f"sha256:{entry['lfs']['oid']}" if entry.get("lfs") else f"git:{entry['oid']}"
