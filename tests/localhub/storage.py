"""Where large files lie: by sha256, put there by LFS or taken together from what Xet wrote."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import struct
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from tests.localhub.http import HubError

HASH_SIZE = 32
SHARD_HEADER = RECORD = 48
END = b"\xff" * HASH_SIZE
WITH_VERIFICATION, WITH_METADATA = 1 << 31, 1 << 30


class Storage:
    """The large-file store of a hub. ``key`` signs its links; it lives as long as the process."""

    def __init__(self, folder: Path, xet: Path) -> None:
        self.folder, self.xet = folder, xet
        self._key = secrets.token_bytes(32)
        self._shards_read: set[Path] = set()
        self._xet_files: dict[str, tuple[str, int]] = {}
        self._xet_lock = threading.Lock()

    def path(self, sha256: str) -> Path:
        return self.folder / "objects" / sha256[:2] / sha256[2:4] / sha256

    def has(self, sha256: str) -> bool:
        return self.path(sha256).exists() or self.xet_hash(sha256) is not None

    def size(self, sha256: str) -> int | None:
        """Size in bytes, None when nothing with this digest is stored."""
        if self.path(sha256).exists():
            return self.path(sha256).stat().st_size
        found = self.xet_files().get(sha256)
        return found[1] if found else None

    def write(self, sha256: str, blocks: Iterable[bytes]) -> int:
        """Stores blocks under their digest; the size in bytes. Raises 400 when the digest is another."""
        (self.folder / "incoming").mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        handle, writing = tempfile.mkstemp(dir=self.folder / "incoming")
        with os.fdopen(handle, "wb") as file:
            for block in blocks:
                digest.update(block)
                size += file.write(block)
        if digest.hexdigest() != sha256:
            Path(writing).unlink()
            raise HubError(400, "The SHA-256 of the content is not the one that was announced")
        self.path(sha256).parent.mkdir(parents=True, exist_ok=True)
        os.replace(writing, self.path(sha256))
        return size

    def open_path(self, sha256: str) -> Path:
        """The file with this content; one that only Xet holds is put together first. Raises 404."""
        if not self.path(sha256).exists():
            found = self.xet_files().get(sha256)
            if found is None:
                raise HubError(404, "No such object")
            with self._xet_lock:
                self._rebuild(sha256, *found)
        return self.path(sha256)

    def _rebuild(self, sha256: str, xet_hash: str, size: int) -> None:
        import hf_xet  # type: ignore[import-untyped]

        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            target = Path(scratch) / "file"
            session = hf_xet.XetSession()
            with session.new_file_download_group(
                endpoint=f"local://{self.xet}", token="local", token_expiry_unix_secs=int(time.time()) + 3600
            ) as group:
                group.start_download_file(hf_xet.XetFileInfo(xet_hash, size), str(target))
            self.write(sha256, [target.read_bytes()])

    # Xet

    def xet_hash(self, sha256: str) -> str | None:
        found = self.xet_files().get(sha256)
        return found[0] if found else None

    def xet_files(self) -> dict[str, tuple[str, int]]:
        """sha256 -> (Xet hash, size) of every file in the shards that the client wrote."""
        for shard in (self.xet / "xet" / "xorbs" / "shards").glob("*.mdb"):
            if shard not in self._shards_read:
                self._xet_files |= read_shard(shard.read_bytes())
                self._shards_read.add(shard)
        return self._xet_files

    # Links

    def sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()

    def check(self, text: str, signature: str) -> None:
        if not hmac.compare_digest(self.sign(text), signature):
            raise HubError(403, "SignatureDoesNotMatch")


def read_shard(data: bytes) -> dict[str, tuple[str, int]]:
    """sha256 -> (Xet hash, size) of the files that a shard tells of."""
    files, at = {}, SHARD_HEADER
    while data[at : at + HASH_SIZE] != END and at + RECORD <= len(data):
        xet_hash = hash_text(data[at : at + HASH_SIZE])
        flags, count = struct.unpack_from("<II", data, at + HASH_SIZE)
        at += RECORD
        # An entry: xorb hash, flags, unpacked bytes, first and last chunk.
        size = sum(struct.unpack_from("<I", data, at + RECORD * i + HASH_SIZE + 4)[0] for i in range(count))
        at += RECORD * count * (2 if flags & WITH_VERIFICATION else 1)
        if flags & WITH_METADATA:
            files[hash_text(data[at : at + HASH_SIZE])] = (xet_hash, size)
            at += RECORD
    return files


def hash_text(data: bytes) -> str:
    """32 bytes the way Xet prints them: four little-endian 64-bit numbers in hex."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", data))
