"""Whether a file on the Hub has the bytes of a local one: by sha256, or by git's blob id for small regular files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from variantforge.hashing import file_digest
from variantforge.release.hub.facts import RemoteFile

_CHUNK_BYTES = 1 << 20


def git_blob_oid(content: Path | bytes) -> str:
    """The id git gives to a file: SHA-1 over ``blob <size>\\0`` and the bytes. 40 hex digits."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    if isinstance(content, bytes):
        digest.update(content)
    else:
        with open(content, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def same(remote: RemoteFile, content: Path | bytes, sha256: str | None = None) -> bool:
    """Equal bytes? ``sha256`` spares reading a large file when it is known already."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if size != remote.size_bytes:
        return False
    if remote.sha256 is None:
        return git_blob_oid(content) == remote.git_oid
    if sha256 is None:
        sha256 = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else file_digest(content)
    return sha256 == remote.sha256
