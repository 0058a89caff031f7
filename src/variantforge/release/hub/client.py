"""``Hub``: everything that is asked of the Hub, and done to it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from variantforge.errors import HubError, IntegrityError, NameTaken, NoAccess, NotOnHub
from variantforge.fsops import writing
from variantforge.release.hub.access import may_write
from variantforge.release.hub.collections import Collections
from variantforge.release.hub.commits import commit
from variantforge.release.hub.connection import Connection
from variantforge.release.hub.digest import same
from variantforge.release.hub.facts import Commit, Content, RemoteFile, RemoteRepo, Verdict
from variantforge.release.hub.wire import pages, stream

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Visibility = Literal["public", "private"]
Gated = Literal["no", "auto", "manual"]
_SMALL_BYTES = 16 << 20


class Hub(Connection):
    """What is there, and what is changed. Repos are models. Every method raises HubError (see errors.py)."""

    @cached_property
    def collections(self) -> Collections:
        return Collections(self)

    # ---- what is there

    def page(self, repo: str, kind: Literal["model", "dataset"] = "model") -> str:
        """Address of a repo for people."""
        return f"{self.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo}"

    def may_write(self, repo: str, *, exists: bool = True) -> Verdict:
        """Whether a release may write to this repo, as far as can be told without writing."""
        return may_write(self, repo, exists=exists)

    def repo(self, repo: str) -> RemoteRepo | None:
        """None when it does not exist, or is hidden from this token (the Hub does not tell which)."""
        try:
            info = self.ask_repo(repo, f"looking at {repo}", lambda api, token: api.model_info(repo, token=token))
            branches, tags = self._refs(repo)
        except NotOnHub:
            return None
        except NoAccess:
            if self._credentials.for_reading(repo):
                raise
            return None  # whoever shows no token gets this answer for what is not there, too
        gated = info.gated if info.gated in ("auto", "manual") else "no"
        return RemoteRepo(repo, bool(info.private), gated, branches, tags)

    def _refs(self, repo: str) -> tuple[dict[str, str], dict[str, str]]:
        doing = f"reading the branches of {repo}"
        refs = self.ask_repo(repo, doing, lambda api, token: api.list_repo_refs(repo, token=token))
        return tuple({ref.name: ref.target_commit for ref in each} for each in (refs.branches, refs.tags))  # type: ignore[return-value]

    def tree(self, repo: str, revision: str) -> dict[str, RemoteFile]:
        """All files of a revision, by path. Raises NotOnHub when there is no such revision."""
        from huggingface_hub.hf_api import RepoFile

        entries = self.ask_repo(
            repo,
            f"listing the files of {repo} at {revision}",
            lambda api, token: list(api.list_repo_tree(repo, recursive=True, revision=revision, token=token)),
        )
        return {
            entry.path: RemoteFile(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    def head(self, repo: str, branch: str) -> str | None:
        """The oid of a branch's head; None when there is no such branch (or repo)."""
        with suppress(NotOnHub):
            return self._refs(repo)[0].get(branch)
        return None

    def history(self, repo: str, branch: str, n: int = 20) -> list[Commit]:
        """The newest ``n`` commits of a branch or revision, newest first."""
        doing = f"reading the history of {repo} at {branch}"
        path = f"/api/models/{repo}/commits/{quote(branch, safe='')}"
        return self.ask_repo(
            repo,
            doing,
            lambda api, token: [_commit_of(item) for item in islice(pages(api.endpoint + path, token), n)],
        )

    def read(self, repo: str, revision: str, path: str, limit_bytes: int = _SMALL_BYTES) -> bytes:
        """A small file's bytes. Raises NotOnHub, or IntegrityError when it is longer than ``limit_bytes``."""
        doing = f"reading {path} of {repo} at {revision}"

        def fetch(api: HfApi, token: str | Literal[False]) -> bytes:
            return b"".join(stream(_address(api, repo, revision, path), token, limit_bytes))

        return self.ask_repo(repo, doing, fetch)

    def read_file(self, repo: str, revision: str, file: RemoteFile) -> bytes:
        """As ``read``, of a file of ``tree()``. Raises IntegrityError when other bytes came than promised."""
        data = self.read(repo, revision, file.path)
        if not same(file, data):
            raise self._other_bytes(repo, revision, file, len(data))
        return data

    def download(self, repo: str, revision: str, file: RemoteFile, to: Path) -> Path:
        """Writes a file of ``tree()`` to the path ``to``. Raises IntegrityError when other bytes came than promised."""
        doing = f"downloading {file.path} of {repo} at {revision}"

        def fetch(api: HfApi, token: str | Literal[False]) -> None:
            with writing(to) as out:
                for piece in stream(_address(api, repo, revision, file.path), token, file.size_bytes):
                    out.write(piece)

        self.ask_repo(repo, doing, fetch)
        if not same(file, to):
            raise self._other_bytes(repo, revision, file, to.stat().st_size)
        return to

    def _other_bytes(self, repo: str, revision: str, file: RemoteFile, came: int) -> IntegrityError:
        return IntegrityError(
            f"{repo} serves other bytes for {file.path} than its tree at {revision} names",
            why=f"{came} bytes came; {file.size_bytes} with {file.sha256 or file.git_oid} are named",
            next=f"look at {self.page(repo)}/tree/{revision}, and run the same command again",
        )

    # ---- what is changed

    def create_repo(self, repo: str, *, private: bool = True) -> None:
        """Makes a model repo; nothing happens when it is there. A Trusted Publisher cannot: HF_TOKEN is used."""

        def there() -> bool | None:
            return True if self.repo(repo) else None

        if there():
            return
        if not self.user_token():
            raise NoAccess(
                f"{repo} does not exist, and there is no token that can create it",
                why="A Trusted Publisher's token holds for one repo that exists." if self.is_oidc() else "",
                next=f"hf repos create {repo} --private",
            )
        self.ask(
            f"creating {repo}",
            lambda api: api.create_repo(repo, private=private, exist_ok=True, token=self.user_token()),
            there,
        )

    def create_branch(self, repo: str, branch: str, revision: str) -> None:
        """Nothing happens when the branch is there, wherever it points."""
        self.change(
            repo,
            f"making the branch {branch} of {repo}",
            lambda api, token: api.create_branch(repo, branch=branch, revision=revision, exist_ok=True, token=token),
        )

    def delete_branch(self, repo: str, branch: str) -> None:
        """Nothing happens when there is no such branch."""
        with suppress(NotOnHub):
            self.change(
                repo,
                f"taking away the branch {branch} of {repo}",
                lambda api, token: api.delete_branch(repo, branch=branch, token=token),
            )

    def tag(self, repo: str, tag: str, oid: str, message: str = "") -> None:
        """Tags a commit; nothing happens when the tag points there. Raises NameTaken when it points elsewhere."""
        if self._tagged(repo, tag, oid):
            return
        self.change(
            repo,
            f"tagging {repo} {tag}",
            lambda api, token: api.create_tag(
                repo, tag=tag, revision=oid, tag_message=message or None, exist_ok=True, token=token
            ),
        )
        if not self._tagged(repo, tag, oid):
            raise HubError(f"{repo} has no tag {tag} after it was set", next="run the same command again")

    def _tagged(self, repo: str, tag: str, oid: str) -> bool:
        at = self._refs(repo)[1].get(tag)
        if at is not None and at != oid:
            raise NameTaken(
                f"{repo} has a tag {tag} already, at {at[:12]}",
                why=f"It was to point at {oid[:12]}. Tags are never moved: people pin them.",
                next="give this release another version",
            )
        return at is not None

    def set_visibility(self, repo: str, visibility: Visibility) -> None:
        self.change(
            repo,
            f"making {repo} {visibility}",
            lambda api, token: api.update_repo_settings(repo, visibility=visibility, token=token),
        )

    def set_gated(self, repo: str, gated: Gated) -> None:
        mode: Any = False if gated == "no" else gated
        self.change(
            repo,
            f"setting who may read {repo}",
            lambda api, token: api.update_repo_settings(repo, gated=mode, token=token),
        )

    def commit(
        self,
        repo: str,
        branch: str,
        files: Mapping[str, Content],
        *,
        message: str,
        parent: str,
        trailer: str = "",
    ) -> str:
        """Exactly one commit on top of ``parent``, or MovedHead; returns its oid.

        ``files``: path -> bytes, a local Path, ``CopyFrom`` another revision of the same repo, or None to take it
        away. When nothing would change there is no commit, and the head is returned. ``trailer`` is a line, unique to
        this wish, by which the commit is known again when the Hub's answer was lost.
        """
        return commit(self, repo, branch, files, message=message, parent=parent, trailer=trailer)


def _commit_of(item: Mapping[str, Any]) -> Commit:
    authors = ", ".join(str(author.get("user", "")) for author in item.get("authors", []))
    return Commit(str(item["id"]), str(item["title"]), str(item.get("message") or ""), authors, str(item["date"]))


def _address(api: HfApi, repo: str, revision: str, path: str) -> str:
    return f"{api.endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"
