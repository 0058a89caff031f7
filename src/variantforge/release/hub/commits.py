"""One commit, or a reason why not.

A POST whose answer is lost may have been obeyed. So it is never sent again blindly: the branch is read, and a commit
that carries our trailer is ours. ``parentCommit`` makes a second try harmless even where that reading was stale.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from variantforge.errors import MovedHead, NotOnHub
from variantforge.release.hub.facts import Commit, Content, CopyFrom

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from variantforge.release.hub.client import Hub

_LOOK_BACK = 20  # commits others may have put on ours before we look whether it landed


def commit(
    hub: Hub, repo: str, branch: str, files: Mapping[str, Content], *, message: str, parent: str, trailer: str
) -> str:
    """See ``Hub.commit``."""
    line = trailer or f"Variantforge-Commit: {uuid.uuid4().hex}"
    doing = f"committing {len(files)} files to {repo} ({branch})"
    operations = _operations(files)

    def post(api: HfApi, token: str | Literal[False]) -> str:
        hub.wait_for_commit(doing)
        made: Any = api.create_commit(
            repo,
            operations,
            commit_message=message,
            commit_description=line,
            revision=branch,
            parent_commit=parent,
            token=token,
        )
        return str(made.oid)

    def landed() -> str | None:
        ours = next((seen for seen in _since(hub, repo, branch, parent) if seen.has_line(line)), None)
        return ours.oid if ours else None

    try:
        return hub.change(repo, doing, post, landed)
    except MovedHead as error:
        raise _who_moved(hub, repo, branch, parent, error) from None


def _operations(files: Mapping[str, Content]) -> list[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    operations: list[Any] = []
    for path, content in sorted(files.items()):
        if content is None:
            operations.append(CommitOperationDelete(path_in_repo=path, is_folder=False))
        elif isinstance(content, CopyFrom):
            operations.append(CommitOperationCopy(content.path or path, path, src_revision=content.revision))
        else:
            operations.append(CommitOperationAdd(path_in_repo=path, path_or_fileobj=content))
    return operations


def _since(hub: Hub, repo: str, branch: str, parent: str) -> list[Commit]:
    """The commits on top of ``parent``, newest first; as far back as is looked."""
    commits = hub.history(repo, branch, _LOOK_BACK)
    oids = [seen.oid for seen in commits]
    return commits[: oids.index(parent)] if parent in oids else commits


def _who_moved(hub: Hub, repo: str, branch: str, parent: str, error: MovedHead) -> MovedHead:
    try:
        head = hub.history(repo, branch, 1)[0]
    except (NotOnHub, IndexError):
        return error
    moved = MovedHead(
        f"{branch} of {repo} was moved by {head.author or 'somebody'}: {head.title}",
        why=f"It is at {head.oid[:12]} now; this commit was made for {parent[:12]}. Nothing was written.",
        next=f"look at {hub.page(repo)}/commits/{branch}, then run the same command again",
    )
    moved.head = head.oid
    return moved
