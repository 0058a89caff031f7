"""A file from the web, wanted by its digest: streamed to disk, gone on with after a kill, proven before it is read."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from variantforge.errors import DataError, IntegrityError, Interrupted, OutOfSpace, Refused
from variantforge.fsops import appending, free_bytes
from variantforge.stages.data.streams import DECOMPRESSORS
from variantforge.stages.data.web import NETWORK_ERRORS, get, raise_if_final, shown
from variantforge.step import StepContext

MAX_BYTES = 200 << 30
TRIES = 5  # without a byte gained
_BLOCK_BYTES = 1 << 20
pause: Callable[[float], None] = time.sleep  # tests do not wait


class Wanted(NamedTuple):
    """``sha256``: 64 hex digits of the whole file; ``key``: where the family file names it."""

    url: str
    sha256: str
    key: str

    @property
    def file_name(self) -> str:
        """A name on disk that tells the readers what it is."""
        suffixes = Path(urlsplit(self.url).path.lower()).suffixes
        return "download" + "".join(suffixes[-2:] if suffixes[-1] in DECOMPRESSORS else suffixes[-1:])


def download(context: StepContext, wanted: Wanted) -> Path:
    """The file in ``context.scratch``, whole and proven.

    Raises DataError (it cannot be had), IntegrityError (it holds something else), Refused, OutOfSpace, Interrupted.
    """
    path = context.scratch / wanted.file_name
    begun = path.is_file()
    if begun and _digest(path).hexdigest() == wanted.sha256:
        return path
    _prove_online(wanted)
    found = _fetch(context, wanted, path)
    if found != wanted.sha256 and begun:  # what an earlier try left may be of another file
        _empty(path)
        found = _fetch(context, wanted, path)
    if found != wanted.sha256:
        size = path.stat().st_size
        _empty(path)
        raise IntegrityError(
            f"{shown(wanted.url)} does not hold the bytes that the family file names",
            why=f"Its sha256 is {found} ({size:,} bytes), wanted is {wanted.sha256}.",
            next=f"look at what it holds now; if that is what you want, set {wanted.key}.sha256: {found}",
        )
    return path


def _prove_online(wanted: Wanted) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DataError(
            f"{shown(wanted.url)} is to be downloaded, and HF_HUB_OFFLINE is set",
            next=f"unset HF_HUB_OFFLINE; or bring the file by other means, and name it in {wanted.key}.path",
        )


def _fetch(context: StepContext, wanted: Wanted, path: Path) -> str:
    """Downloads what is missing, in as many tries as it takes while there is progress; returns the whole's digest."""
    failures = 0
    while True:
        before = _size(path)
        try:
            digest, missing = _try(context, wanted, path)
            if missing <= 0:
                return digest
            reason = f"the connection ended with {missing:,} bytes to come"
        except NETWORK_ERRORS as error:
            raise_if_final(wanted.url, error)
            reason = str(error) or type(error).__name__
        failures = 0 if _size(path) > before else failures + 1
        if failures >= TRIES:
            raise DataError(
                f"{shown(wanted.url)} cannot be downloaded",
                why=f"{reason} ({TRIES} tries)",
                next="run the same command again: it goes on with what is there",
            )
        pause(2.0**failures)


def _try(context: StepContext, wanted: Wanted, path: Path) -> tuple[str, int]:
    """One request for the rest of the file: the digest of what is here then, and how many bytes did not come."""
    digest, have = _digest(path), _size(path)
    answer = get(wanted.url, have)
    if answer is None:
        return digest.hexdigest(), 0
    with closing(answer):
        if answer.status != 206 or not str(answer.headers.get("Content-Range")).startswith(f"bytes {have}-"):
            digest, have = hashlib.sha256(), 0
        total = have + (answer.length or 0)  # the server may not say
        have = _copy(context, wanted, answer, path, digest, have, total)
    return digest.hexdigest(), total - have


def _copy(
    context: StepContext, wanted: Wanted, answer: HTTPResponse, path: Path, digest: Any, have: int, total: int
) -> int:
    """Appends what comes to the first ``have`` bytes; returns how many are here then."""
    _prove_room(wanted, path, have, total)
    with appending(path, have) as file:
        while block := answer.read(_BLOCK_BYTES):
            file.write(block)
            digest.update(block)
            have += len(block)
            context.progress(have, max(total, have), "byte")
            _prove_size(wanted, have)
            if context.stopping():
                raise Interrupted(
                    f"stopped while {shown(wanted.url)} was downloaded", next="run the same command to go on"
                )
    return have


def _prove_room(wanted: Wanted, path: Path, have: int, total: int) -> None:
    _prove_size(wanted, total)
    missing, free = total - have, free_bytes(path.parent)
    if missing > free:
        raise OutOfSpace(
            f"no space left to download {shown(wanted.url)}",
            why=f"{missing / 1e9:.2f} GB are to come, {free / 1e9:.2f} GB are free.",
            next="free some space there, then run the same command again",
        )


def _prove_size(wanted: Wanted, size: int) -> None:
    if size > MAX_BYTES:
        raise Refused(
            f"{shown(wanted.url)} is larger than {MAX_BYTES / 1e9:,.0f} GB",
            why="So much is not downloaded unasked.",
            next=f"download it, and name the file in {wanted.key}.path",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path) -> Any:
    """The SHA-256 of what is here so far, to go on with."""
    digest = hashlib.sha256()
    if path.is_file():
        with open(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest


def _empty(path: Path) -> None:
    with appending(path, 0):
        pass
