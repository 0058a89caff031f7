"""What the Hub says of a locked repo: where a revision points now, and which files a commit holds.

Asks for metadata alone; no file is fetched. Imports the Hub's client inside functions, so that a family without names
on the Hub never pays for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from variantforge.errors import HubUnreachable, NotOnHub
from variantforge.plan.pin import RepoType
from variantforge.redact import redacted

T = TypeVar("T")
_TIMEOUT_S = 10.0


def head_of(name: str, repo_type: RepoType, revision: str) -> str | None:
    """The commit that a branch, tag or commit stands for now; None when the repo has no such revision.

    Raises NotOnHub when the Hub shows no such repo to this user, HubUnreachable when it gives no useful answer.
    """
    found = _ask(
        name,
        repo_type,
        lambda api: api.repo_info(name, revision=revision, repo_type=repo_type, timeout=_TIMEOUT_S).sha,
    )
    return str(found) if found else None


def files_at(name: str, repo_type: RepoType, commit: str) -> dict[str, str] | None:
    """Path -> ``sha256:`` of its bytes, or ``git:`` and the blob id of a file that is not stored as LFS or Xet.

    None when the repo has no such commit. Raises NotOnHub, HubUnreachable.
    """
    return _ask(name, repo_type, lambda api: _listed(api, name, repo_type, commit))


def _listed(api: Any, name: str, repo_type: RepoType, commit: str) -> dict[str, str]:
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type=repo_type)
    return {
        file.path: f"sha256:{file.lfs.sha256}" if file.lfs else f"git:{file.blob_id}"
        for file in tree
        if isinstance(file, RepoFile)
    }


def _ask(name: str, repo_type: RepoType, question: Callable[[Any], T]) -> T | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return question(HfApi())
    except RevisionNotFoundError:
        return None
    except GatedRepoError:
        raise NotOnHub(
            f"{name} is gated on the Hub, and this user was not granted access",
            next=f"accept its terms at https://huggingface.co/{name}, then: hf auth login",
        ) from None
    except RepositoryNotFoundError:
        raise NotOnHub(
            f"the Hub shows no {repo_type} '{name}': it is gone, renamed or private", next="hf auth login"
        ) from None
    except Exception as error:  # offline mode, no route, TLS, a proxy, 5xx, a reply that is no JSON: many kinds
        reason = (redacted(str(error)).strip().splitlines() or [type(error).__name__])[0][:160]
        raise HubUnreachable(
            f"the Hub cannot be asked about {name}",
            why=f"{reason}. Nothing was written.",
            next="run the same command again when it answers",
        ) from None
