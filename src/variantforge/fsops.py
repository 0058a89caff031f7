"""The one module that writes: temporary name in the same folder, fsync, rename, fsync of the folder.

A reader sees the old file or the new one, never a part. A folder appears whole: it is built under a temporary
name (``name.tmp-<random>``), every file in it is flushed to disk, then it is renamed into place.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from variantforge.errors import OutOfSpace, VariantforgeError

_TEMP = ".tmp-"

# Called before every change that a kill could split from the next. Tests stand here to kill the process or to make
# the disk fail; nothing else sets it.
crossing: Callable[[str, Path], None] = lambda name, path: None  # noqa: E731


@contextmanager
def telling_disk_errors(path: Path) -> Iterator[None]:
    """Turns the errors a disk gives (full, quota, read-only, permission) into letters that name the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(
                f"no space left to write {path}",
                why=f"{free_bytes(path) / 1e9:.2f} GB are free there. Everything finished so far is kept.",
                next="free some space there, then run the same command again",
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise VariantforgeError(
                f"cannot write {path}: {error.strerror}",
                why="The folder is read-only or belongs to somebody else. Nothing was changed.",
                next="make it writable, or choose another place with --store",
            ) from error
        if error.filename and is_temp(Path(error.filename)):
            error.filename = str(path)  # the name that people know
        raise


def free_bytes(path: Path) -> int:
    """Bytes free on the file system that holds ``path`` (or its nearest existing parent)."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def temp_sibling(path: Path) -> Path:
    """A fresh name beside ``path``: same file system, recognisable as unfinished."""
    return path.with_name(f"{path.name}{_TEMP}{secrets.token_hex(4)}")


def is_temp(path: Path) -> bool:
    return _TEMP in path.name


def fsync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """``with writing(path) as file``: the file is there whole after the block, or untouched when it raised."""
    with telling_disk_errors(path):
        crossing("write", path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = temp_sibling(path)
        try:
            with open(temp, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            crossing("replace", path)
            os.replace(temp, path)
            fsync_folder(path.parent)
        finally:
            temp.unlink(missing_ok=True)


def read_small(path: str) -> bytes:
    """A whole small file, in the fewest calls: a plan reads thousands."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    with writing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def append_text(path: Path, text: str) -> None:
    """Adds to a file that somebody else keeps, and may keep open: a log, or the summary of a CI job."""
    with telling_disk_errors(path), open(path, "a", encoding="utf-8") as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Readable JSON in a stable order, ending in a newline."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def appending(path: Path, keep_bytes: int) -> Iterator[IO[bytes]]:
    """The file, cut to its first ``keep_bytes`` and open at their end. Whatever ends the block, what was written stays:
    for a download that another try goes on with, and that proves the whole."""
    with telling_disk_errors(path):
        crossing("append", path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.truncate(keep_bytes)
            yield file


def make_folder(path: Path) -> Path:
    with telling_disk_errors(path):
        crossing("mkdir", path)
        path.mkdir(parents=True, exist_ok=True)
    return path


def copy_file(source: Path, target: Path) -> None:
    """A copy of a file's bytes, flushed; ``target`` must be inside a folder that is still being built."""
    with telling_disk_errors(target):
        crossing("copy", target)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for an *immutable* file where the file system allows it, else a copy."""
    with telling_disk_errors(target):
        crossing("link", target)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def flush_tree(folder: Path) -> None:
    """fsync every file and folder under ``folder``, itself included."""
    for parent, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_folder(Path(parent))


def move_in(built: Path, target: Path) -> None:
    """Renames a finished temporary folder to its place, replacing an older folder there.

    The old folder is moved aside first and removed last, so a kill leaves the old one, or the new one, whole
    (at the very instant between the two renames: the old one under its temporary name and no ``target``).
    """
    with telling_disk_errors(target):
        crossing("flush", target)
        flush_tree(built)
        aside = temp_sibling(target)
        if target.exists():
            crossing("move aside", target)
            os.rename(target, aside)
        crossing("move in", target)
        os.rename(built, target)
        fsync_folder(target.parent)
        crossing("moved in", target)
        remove_tree(aside)


def remove_tree(path: Path) -> None:
    """Removes a file or folder; nothing happens when it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep_temps(folder: Path) -> int:
    """Removes what killed writers left directly under ``folder``; returns how many. Call it under the lock."""
    stale = [path for path in folder.iterdir() if is_temp(path)] if folder.is_dir() else []
    for path in stale:
        remove_tree(path)
    return len(stale)
