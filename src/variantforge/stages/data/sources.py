"""Rows as they lie in files: JSONL, JSON and CSV (also as .gz and .zst), and Parquet.

Each reader yields records one at a time, each with its place for messages (``pairs.jsonl:17``, ``chat.parquet:row 3``).
What is wrong with one row becomes a ``BadRow`` in its record, and reading goes on; what is wrong with a whole file
raises DataError. No reader holds more than a few rows, but for .json: that form has no other way.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from variantforge.stages.data.streams import broken, reading, suffix_of, telling_read_errors

MAX_ROW_BYTES = 16 << 20
_MAX_JSON_BYTES = 1 << 30  # a .json file is read whole; beyond this, lines are the better form
_BATCH_ROWS = 512
_PARQUET_BUFFER_BYTES = 1 << 20
_UTF8_BOM, _UTF16_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


class BadRow(ValueError):
    """One row that cannot be used. ``reason`` is counted ("content is empty"), ``detail`` is told of this row."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason, self.detail = reason, detail or reason


@dataclass(frozen=True, slots=True)
class Record:
    """``done`` is the share of its file, in [0, 1], that has been read with this record."""

    place: str
    values: dict[str, Any] | BadRow
    done: float = 1.0


@dataclass(frozen=True)
class Table:
    """A file being read. ``columns`` are known ahead for CSV, Parquet and the Hub, not for JSON."""

    name: str
    columns: tuple[str, ...] | None
    records: Iterator[Record]


def open_table(path: Path, name: str) -> Table:
    """Starts reading a file; ``name`` is what messages call it. Raises DataError when it cannot be read at all."""
    with telling_read_errors(name):
        with reading(path) as stream:
            if stream.file.read(2) in _UTF16_BOMS:
                raise broken(name, "the file is UTF-16, not UTF-8", next=f"save {name} as UTF-8")
        return READERS[suffix_of(path.name)](path, name)


def kind(value: Any) -> str:
    """What a value is, in words for messages."""
    if value is None or value != value:
        return "a missing value"
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


def present(values: dict[str, Any]) -> dict[str, Any]:
    """A row of a columnar source without the nulls inside its objects: there every object has the keys of all."""
    return {column: _present(value) if isinstance(value, dict | list) else value for column, value in values.items()}


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _present(inner) for name, inner in value.items() if inner is not None}
    return [_present(inner) for inner in value] if isinstance(value, list) else value


def readable(name: str) -> bool:
    """Whether rows can be read from a file of that name."""
    return suffix_of(name) in READERS


def _lines(file: IO[bytes]) -> Iterator[bytes | BadRow]:
    """Lines without BOM; one that is too long is skipped over and told."""
    first = True
    while line := file.readline(MAX_ROW_BYTES + 1):
        length = len(line)
        if length > MAX_ROW_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_ROW_BYTES)
                length += len(line)
            yield BadRow("line is too long", f"a line of {length:,} bytes; at most {MAX_ROW_BYTES:,} are read")
        else:
            yield line.removeprefix(_UTF8_BOM) if first else line
        first = False


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: byte 0x{error.object[error.start]:02x} at byte {error.start + 1}"


# --- JSON ---------------------------------------------------------------------------------------------------------


def _jsonl(path: Path, name: str) -> Table:
    return Table(name, None, _json_lines(path, name))


def _json_lines(path: Path, name: str) -> Iterator[Record]:
    with telling_read_errors(name), reading(path) as (file, share):
        for number, line in enumerate(_lines(file), 1):
            if isinstance(line, BadRow) or line.strip():
                values = line if isinstance(line, BadRow) else _parse_row(line)
                yield Record(f"{name}:{number}", values, share())


def _parse_row(line: bytes) -> dict[str, Any] | BadRow:
    try:
        return _as_row(json.loads(line.rstrip(b"\r\n").decode()))
    except UnicodeDecodeError as error:
        return BadRow("not UTF-8", f"{_not_utf8(error)} of the line")
    except json.JSONDecodeError as error:
        return BadRow("not JSON", _not_json(error))
    except (ValueError, RecursionError) as error:  # an integer of too many digits; nested too deep
        return BadRow("not JSON", f"not JSON that can be read: {error}")


def _not_json(error: json.JSONDecodeError) -> str:
    return f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"  # some of its words wait for a place


def _as_row(value: Any) -> dict[str, Any] | BadRow:
    return value if isinstance(value, dict) else BadRow("not an object", f"a row must be an object, not {kind(value)}")


def _json(path: Path, name: str) -> Table:
    """A list of rows, or {"data": [rows]}; also the files named .json that hold one object a line."""
    with reading(path) as stream:
        whole = stream.file.read(_MAX_JSON_BYTES + 1)
    if len(whole) > _MAX_JSON_BYTES:
        raise broken(name, "the file is too large to be read whole", next="save it as .jsonl: one object a line")
    try:
        value = json.loads(whole.removeprefix(_UTF8_BOM).decode())
    except UnicodeDecodeError as error:
        raise broken(name, _not_utf8(error), next=f"save {name} as UTF-8") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _jsonl(path, name)
        raise broken(f"{name}:{error.lineno}", _not_json(error)) from error
    except (ValueError, RecursionError) as error:
        raise broken(name, f"not JSON that can be read: {error}") from error
    rows = value.get("data", [value]) if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise broken(name, f'a list of rows, or {{"data": [rows]}}, was expected; this is {kind(rows)}')
    records = (Record(f"{name}:row {number}", _as_row(row), number / len(rows)) for number, row in enumerate(rows, 1))
    return Table(name, None, records)


# --- CSV ----------------------------------------------------------------------------------------------------------


def _csv(path: Path, name: str) -> Table:
    rows = _csv_rows(path, name)
    _, columns, _ = next(rows, ("", [], 1.0))
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if not columns or not all(columns) or twice:
        wrong = f"column '{twice[0]}' stands twice" if twice else "a column has no name" if columns else "it is empty"
        raise broken(f"{name}:1", f"the first line must name the columns: {wrong}")
    return Table(name, tuple(columns), (Record(place, _csv_row(columns, row), done) for place, row, done in rows))


def _csv_rows(path: Path, name: str) -> Iterator[tuple[str, list[str], float]]:
    """Place, fields and share read of each row, the header first. A row may span lines: its place is its first."""
    csv.field_size_limit(MAX_ROW_BYTES)
    start = 1

    def decoded(file: IO[bytes]) -> Iterator[str]:
        for number, line in enumerate(_lines(file), 1):
            if isinstance(line, BadRow):
                raise broken(f"{name}:{number}", line.detail)
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise broken(
                    f"{name}:{number}", f"{_not_utf8(error)} of the line", next=f"save {name} as UTF-8"
                ) from error

    with telling_read_errors(name), reading(path) as (file, share):
        reader = csv.reader(decoded(file), strict=True)
        try:
            for row in reader:
                place, start = f"{name}:{start}", reader.line_num + 1
                if row:
                    yield place, row, share()
        except csv.Error as error:
            raise broken(f"{name}:{start}", f"not CSV: {error}") from error


def _csv_row(columns: list[str], row: list[str]) -> dict[str, Any] | BadRow:
    if len(row) != len(columns):
        return BadRow("wrong number of fields", f"{len(row)} fields, but {len(columns)} columns")
    return dict(zip(columns, row, strict=True))


# --- Parquet ------------------------------------------------------------------------------------------------------


def _parquet(path: Path, name: str) -> Table:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            return Table(name, tuple(file.schema_arrow.names), _parquet_records(path, name))
    except (ArrowException, OSError) as error:
        raise broken(name, f"not Parquet: {error}") from error


def _parquet_records(path: Path, name: str) -> Iterator[Record]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path, buffer_size=_PARQUET_BUFFER_BYTES) as file:  # without one, row groups are read whole
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Record(f"{name}:row {number}", present(values), number / file.metadata.num_rows)
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise broken(f"{name}:row {number + 1}", f"the file is damaged: {error}") from error


READERS: dict[str, Callable[[Path, str], Table]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
