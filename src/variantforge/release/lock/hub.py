"""What the Hub says of a locked repo: where a revision points now, and which files a commit holds.

Asks for metadata alone; no file is fetched. Every function raises HubError as ``Hub`` does: NotOnHub or NoAccess when
the Hub does not show the repo to this user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from variantforge.plan.pin import RepoType
from variantforge.release.hub.client import Hub

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TIMEOUT_S = 10.0


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
        from huggingface_hub.hf_api import RepoFile

        tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type=repo_type, token=hub.user_token())
        try:
            files = [entry for entry in tree if isinstance(entry, RepoFile)]
        except RevisionNotFoundError:
            return None
        return {file.path: f"sha256:{file.lfs.sha256}" if file.lfs else f"git:{file.blob_id}" for file in files}

    return hub.ask(f"listing the files of {name} at {commit}", ask)
