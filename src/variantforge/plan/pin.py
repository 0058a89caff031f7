"""Every ref becomes the bytes behind it: a commit on the Hub, or a hash of local content.

The only network use in planning, and only for refs on the Hub that are not already a full commit. A local file is
hashed once: its digest is kept with size, times and inode, and read again only when one of these has moved.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from variantforge.errors import UsageError, VariantforgeError
from variantforge.fsops import write_json
from variantforge.hashing import file_digest, tree_digest
from variantforge.plan.seen import SETTLED_NS, Seen, stamp
from variantforge.redact import hush_logs, learn, redacted
from variantforge.refs import Ref
from variantforge.stages.base.files import pinned_files
from variantforge.step import Pin

RepoType = Literal["model", "dataset"]
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Resolver:
    """``folder`` is where relative paths start; ``cache`` a file that keeps digests between runs (None: keep none).

    ``hash_file`` reads a file's bytes; a test counts its calls. ``locked`` holds commits of refs on the Hub: those are
    taken without asking it. ``seen`` is what was looked at. Call ``close()`` once, at the end of planning.
    """

    def __init__(
        self,
        cache: Path | None = None,
        *,
        folder: Path = Path(),
        hash_file: Callable[[Path], str] = file_digest,
        locked: Mapping[tuple[Ref, RepoType], str] | None = None,
    ) -> None:
        self._locked = locked or {}
        self.folder, self._cache, self._hash_file = folder, cache, hash_file
        self.seen = Seen()
        self._known = _read_cache(cache)
        self._changed = False
        self._pins: dict[tuple[Ref, str], Pin] = {}

    def pin(self, ref: Ref, repo_type: RepoType = "model") -> Pin:
        """Raises UsageError with one clear sentence when there is nothing behind the ref, or no way to ask."""
        known = self._pins.get((ref, repo_type))
        if known is None:
            known = self._pins[ref, repo_type] = self._resolve(ref, repo_type)
        return known

    def pin_files(self, files: Iterable[Path]) -> Pin:
        """Several files as one: names relative to their common folder, and the content of each."""
        paths = sorted({self._absolute(path) for path in files})
        if not paths:
            raise UsageError("there are no files to read")
        for path in paths:
            _must_be_file(path)
        common = Path(os.path.commonpath([path.parent for path in paths]))
        return Pin(
            tree_digest({path.relative_to(common).as_posix(): self._digest(path) for path in paths}), str(common)
        )

    def close(self) -> None:
        """Keeps what was hashed for the next run. A cache that cannot be written costs time, never correctness."""
        if self._cache and self._changed:
            with contextlib.suppress(VariantforgeError, OSError):
                write_json(self._cache, self._known)
            self._changed = False

    def _resolve(self, ref: Ref, repo_type: RepoType) -> Pin:
        if ref.kind == "hub":
            locked = self._locked.get((ref, repo_type))
            if locked or not _COMMIT.fullmatch(ref.revision or ""):
                self.seen.lasting = False
            commit = locked or _commit(ref, repo_type)
            return Pin(f"hub:{commit}", f"hub:{ref.name}@{commit}")
        path = _package_file(ref.name) if ref.kind == "package" else self._absolute(Path(ref.name).expanduser())
        self.seen.look_into(path)
        return self._folder_pin(path, repo_type) if path.is_dir() else self._file_pin(path)

    def _absolute(self, path: Path) -> Path:
        return _absolute(self.folder / path)

    def _file_pin(self, path: Path) -> Pin:
        _must_be_file(path)
        return Pin(self._digest(path), str(path))

    def _folder_pin(self, folder: Path, repo_type: RepoType) -> Pin:
        if repo_type != "model":  # files are looked for in its folders too
            for inner in folder.rglob("*/"):
                self.seen.look_into(inner)
        files = pinned_files(folder, model=repo_type == "model")
        if not files:
            raise UsageError(f"the folder {folder} holds no files to read")
        return Pin(
            tree_digest({path.relative_to(folder).as_posix(): self._digest(path) for path in files}), str(folder)
        )

    def _digest(self, path: Path) -> str:
        self.seen.look(path)
        before = list(stamp(path))
        known = self._known.get(str(path))
        if known is not None and known[:-1] == before:
            return str(known[-1])
        digest = self._hash_file(path)
        if list(stamp(path)) != before:
            raise UsageError(f"{path} was changed while it was being read: wait until it is finished")
        if time.time_ns() - max(before[1], before[2]) > SETTLED_NS:
            self._known[str(path)] = [*before, digest]
            self._changed = True
        return digest


def _absolute(path: Path) -> Path:
    """Absolute and without '..', links kept as they are: a snapshot folder links to names that mean nothing."""
    return Path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow the links


def _must_be_file(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"{path} is not there")
    if not path.is_file():
        raise UsageError(f"{path} is not a regular file")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path} may not be read by this user")


def _package_file(name: str) -> Path:
    """``dist/path``: the file of an installed distribution whose recorded path is, or ends in, ``path``."""
    dist, _, wanted = name.partition("/")
    if ".." in wanted.split("/"):
        raise UsageError(f"package:{name} leaves its distribution")
    try:
        recorded = metadata.files(dist) or []
    except metadata.PackageNotFoundError:
        raise UsageError(f"the distribution '{dist}' is not installed: pip install {dist}") from None
    found = [
        file
        for file in recorded
        if ".." not in file.parts and (file.as_posix() == wanted or file.as_posix().endswith("/" + wanted))
    ]
    exact = [file for file in found if file.as_posix() == wanted] or found
    if len(exact) == 1:
        return _absolute(Path(str(exact[0].locate())))
    if exact:
        raise UsageError(f"package:{name} could be any of {', '.join(sorted(map(str, exact)))}")
    largest = sorted((file for file in recorded if file.size), key=lambda file: -(file.size or 0))[:3]
    offers = ", ".join(str(file) for file in largest)
    raise UsageError(f"the distribution '{dist}' carries no file {wanted!r}; its largest files: {offers or 'none'}")


def _commit(ref: Ref, repo_type: RepoType) -> str:
    """The full commit behind a branch or tag. Raises UsageError with what to do without the Hub."""
    if ref.revision and _COMMIT.fullmatch(ref.revision):
        return ref.revision
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    revision = ref.revision or "main"
    hush_logs()
    try:
        learn(get_token() or "")
        sha = HfApi().repo_info(ref.name, revision=revision, repo_type=repo_type, timeout=20).sha
    except GatedRepoError:
        raise UsageError(
            f"{ref.name} is gated: accept its terms at https://huggingface.co/{ref.name}, then run: hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise UsageError(f"the Hub has no {repo_type} '{ref.name}', or it is private: hf auth login") from None
    except RevisionNotFoundError:
        raise UsageError(f"{ref.name} has no revision '{revision}' on the Hub") from None
    except Exception as error:  # offline mode, no route, TLS, a proxy: the client raises many kinds
        reason = (redacted(str(error)).strip().splitlines() or [type(error).__name__])[0][:160]
        download = f"hf download {ref.name} --repo-type {repo_type} --local-dir ./{ref.name.split('/')[-1]}"
        raise UsageError(
            f"the Hub cannot be asked which commit {ref.name}@{revision} is ({reason}). "
            f"Write the full 40-digit commit as revision, or use a local folder: {download}"
        ) from None
    if not sha or not _COMMIT.fullmatch(sha):
        raise UsageError(f"the Hub gave no commit for {ref.name}@{revision}")
    return str(sha)


def _read_cache(cache: Path | None) -> dict[str, Any]:
    """What was kept; nothing when the file is missing, damaged or of another form."""
    try:
        known = json.loads(cache.read_bytes()) if cache else {}
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {path: row for path, row in known.items() if _is_row(row)}


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 6
        and all(type(part) is int for part in row[:5])
        and isinstance(row[5], str)
        and re.fullmatch(r"[0-9a-f]{64}", row[5]) is not None
    )
