"""A file's bytes as they are meant: decompressed while they are read, never held whole."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from variantforge.errors import DataError


class Stream(NamedTuple):
    """``share()`` is how much of the file has been read, in [0, 1]."""

    file: IO[bytes]
    share: Callable[[], float]


def broken(place: str, reason: str, *, next: str = "") -> DataError:
    """What is told of a file that cannot be read on: ``pairs.csv:17  not UTF-8``."""
    return DataError(f"{place}  {reason}", next=next)


@contextmanager
def telling_read_errors(name: str) -> Iterator[None]:
    """Raises DataError for what goes wrong with the file itself; ``name`` is what messages call it."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise broken(name, f"the compressed file is cut off or damaged: {error}") from error
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from error


@contextmanager
def reading(path: Path) -> Iterator[Stream]:
    """The file's bytes, decompressed where its name says so. Raises what ``telling_read_errors`` tells."""
    with ExitStack() as stack:
        raw = stack.enter_context(open(path, "rb"))
        size = max(path.stat().st_size, 1)
        file = DECOMPRESSORS[path.suffix.lower()](raw) if path.suffix.lower() in DECOMPRESSORS else raw
        yield Stream(stack.enter_context(file), lambda: min(raw.tell() / size, 1.0))


def _gunzip(raw: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))


def _unzstd(raw: IO[bytes]) -> IO[bytes]:
    import pyarrow

    stream: Any = pyarrow.CompressedInputStream(raw, "zstd")
    return io.BufferedReader(stream, 1 << 16)


DECOMPRESSORS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {".gz": _gunzip, ".zst": _unzstd}


def suffix_of(name: str) -> str:
    """What a file is, by its name: ``.jsonl``, also of ``rows.JSONL.gz``; and ``.parquet.gz``, which nobody reads."""
    path = Path(name.lower())
    if path.suffix in DECOMPRESSORS and Path(path.stem).suffix != ".parquet":
        return Path(path.stem).suffix
    return "".join(path.suffixes[-2:]) if path.suffix in DECOMPRESSORS else path.suffix
