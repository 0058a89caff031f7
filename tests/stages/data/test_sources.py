"""Files as they are met: real JSONL, JSON, CSV and Parquet, good and broken."""

from __future__ import annotations

import csv
import gzip
import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stages.data.workbench import make_dataset, rows_of, write_jsonl
from variantforge.errors import DataError
from variantforge.stages.data.sources import MAX_ROW_BYTES, BadRow, Record, open_table, readable

ROWS = [{"text": "one"}, {"text": "two"}, {"text": "drei – ü"}]


def read(path: Path) -> list[Record]:
    return list(open_table(path, path.name).records)


def values(path: Path) -> list[Any]:
    return [record.values for record in read(path)]


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    files = [
        write_jsonl(tmp_path / "a.jsonl", ROWS),
        tmp_path / "b.json",
        tmp_path / "c.json",
        write_csv(tmp_path / "d.csv", ROWS),
        write_parquet(tmp_path / "e.parquet", ROWS),
    ]
    files[1].write_text(json.dumps(ROWS))
    files[2].write_text(json.dumps({"data": ROWS}))
    for file in files:
        assert values(file) == ROWS, file


def test_places_are_lines_for_text_and_row_numbers_for_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n')
    (tmp_path / "d.csv").write_text('text\n"one\nmore"\ntwo\n')
    write_parquet(tmp_path / "e.parquet", ROWS)
    assert [record.place for record in read(tmp_path / "a.jsonl")] == ["a.jsonl:1", "a.jsonl:3"]
    assert [record.place for record in read(tmp_path / "d.csv")] == ["d.csv:2", "d.csv:4"]
    assert read(tmp_path / "e.parquet")[2].place == "e.parquet:row 3"


def test_a_json_file_that_holds_lines_is_read_as_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert values(tmp_path / "a.json") == ROWS[:2]


def test_bom_crlf_and_blank_lines_are_no_part_of_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n  \r\n{"text": "two"}\r\n')
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbftext,n\r\none,1\r\n\r\ntwo,2\r\n")
    (tmp_path / "c.json").write_bytes(b'\xef\xbb\xbf[{"text": "one"}]')
    assert values(tmp_path / "a.jsonl") == ROWS[:2]
    assert values(tmp_path / "b.csv") == [{"text": "one", "n": "1"}, {"text": "two", "n": "2"}]
    assert values(tmp_path / "c.json") == ROWS[:1]


def test_the_last_line_needs_no_newline(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}')
    assert values(tmp_path / "a.jsonl") == ROWS[:1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "one"', "not JSON: Expecting ',' delimiter at column 15"),
        (b"{'text': 'one'}", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        (b'{"text": "\xff"}', "not UTF-8: byte 0xff at byte 11 of the line"),
        (b'{"text": "a\x00b"}', "not JSON: Invalid control character at column 12"),
        (b'["one"]', "a row must be an object, not a list"),
        (b"null", "a row must be an object, not a missing value"),
        (b"NaN", "a row must be an object, not a missing value"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not JSON that can be read: Exceeds the limit"),
        (b'{"text": ' * 100_000, "not JSON that can be read: maximum recursion depth"),
    ],
)
def test_a_bad_line_is_told_and_the_next_is_read(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(line + b'\n{"text": "two"}\n')
    bad, good = read(tmp_path / "a.jsonl")
    assert isinstance(bad.values, BadRow)
    assert bad.place == "a.jsonl:1"
    assert bad.values.detail.startswith(reason)
    assert good == Record("a.jsonl:2", {"text": "two"}, 1.0)


def test_an_endless_line_is_passed_over_without_being_held(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "' + b"x" * (2 * MAX_ROW_BYTES) + b'"}\n{"text": "two"}\n')
    bad, good = read(tmp_path / "a.jsonl")
    assert isinstance(bad.values, BadRow)
    assert bad.values.reason == "line is too long"
    assert (good.place, good.values) == ("a.jsonl:2", {"text": "two"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'[{"text": "one"},]', "a.json:1  not JSON: "),
        ("a.json", b'[{"text": "one"}\n{"text": 2}]', "a.json:2  not JSON: Expecting ',' delimiter at column 1"),
        ("a.json", b'{"data": "x"}', 'a.json  a list of rows, or {"data": [rows]}, was expected; this is text'),
        ("a.json", b'["\xe9"]', "a.json  not UTF-8: byte 0xe9 at byte 3"),
        ("a.json", b"[" * 100_000, "a.json  not JSON that can be read: maximum recursion"),
        ("a.jsonl", '{"text": "one"}'.encode("utf-16"), "a.jsonl  the file is UTF-16, not UTF-8"),
        ("a.csv", b"", "a.csv:1  the first line must name the columns: it is empty"),
        ("a.csv", b"a,,b\n1,2,3\n", "a.csv:1  the first line must name the columns: a column has no name"),
        ("a.csv", b"a,b,a\n1,2,3\n", "a.csv:1  the first line must name the columns: column 'a' stands twice"),
        ("a.csv", b'a,b\n1,2\n"open,2\n', "a.csv:3  not CSV: unexpected end of data"),
        ("a.csv", b"a,b\n1,caf\xe9\n", "a.csv:2  not UTF-8: byte 0xe9 at byte 6 of the line"),
        ("a.parquet", b"PAR1 this is no parquet PAR1", "a.parquet  not Parquet: "),
    ],
)
def test_a_broken_file_is_told_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert caught.value.what.startswith(message)


def test_a_csv_row_with_a_field_too_many_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n\none,1,extra\ntwo,2\nthree\n")
    first, second, third = read(tmp_path / "a.csv")
    assert isinstance(first.values, BadRow)
    assert first.values.detail == "3 fields, but 2 columns"
    assert second.values == {"text": "two", "n": "2"}
    assert isinstance(third.values, BadRow)


def test_a_parquet_file_cut_in_the_middle_of_its_pages_is_damaged(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{"text": f"{number} " * 50} for number in range(2000)])
    data = bytearray(path.read_bytes())
    data[200:1200] = bytes(1000)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet"):
        read(path)


def test_a_file_that_may_not_be_read_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl cannot be read: No such file"):
        open_table(tmp_path / "gone.jsonl", "gone.jsonl")


def test_a_folder_of_mixed_files_is_one_dataset_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_jsonl(folder / "2.jsonl", [{"text": "two"}])
    write_csv(folder / "1.csv", [{"text": "one"}])
    write_parquet(folder / "3.parquet", [{"text": "three"}])
    (folder / "README.md").write_text("# data")
    (folder / ".hidden").write_text("x")
    artifact = make_dataset(tmp_path, folder)
    assert {row["text"] for row in rows_of(artifact)} == {"one", "two", "three"}
    assert artifact.facts["rows"] == 3


def test_parquet_lists_of_messages_are_rows(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho", "tool_calls": None}]
    artifact = make_dataset(tmp_path, write_parquet(tmp_path / "a.parquet", [{"messages": messages}]))
    assert rows_of(artifact)[0]["messages"][1] == {"role": "assistant", "content": "ho"}


# --- compressed, and larger than memory -----------------------------------------------------------------------------


def zstd(data: bytes) -> bytes:
    import pyarrow

    out = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return bytes(out.getvalue())


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstd), (".GZ", gzip.compress)])
def test_compressed_files_are_read_as_what_they_hold(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    plain = [
        write_jsonl(tmp_path / "a.jsonl", ROWS),
        write_csv(tmp_path / "b.csv", ROWS),
        tmp_path / "c.json",
    ]
    plain[2].write_text(json.dumps(ROWS))
    for file in plain:
        packed = file.with_name(f"{file.name}{suffix}")
        packed.write_bytes(pack(file.read_bytes()))
        assert values(packed) == ROWS, packed
        assert read(packed)[-1].done == 1.0


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_compressed_file_that_is_cut_off_is_told(
    tmp_path: Path, name: str, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    numbers = random.Random(0)
    rows = "".join(json.dumps({"text": str(numbers.random())}) + "\n" for _ in range(20_000)).encode()
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(pack(rows)[:-1000])
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.what.startswith(path.name)
    path.write_bytes(b"these are plain words")
    with pytest.raises(DataError, match=path.name):
        read(path)


def test_a_folder_may_hold_compressed_files(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data/1.jsonl", ROWS[:1])
    (tmp_path / "data/2.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROWS[1]).encode()))
    artifact = make_dataset(tmp_path, tmp_path / "data")
    assert {row["text"] for row in rows_of(artifact)} == {"one", "two"}


@pytest.mark.parametrize(
    ("name", "known"),
    [("a.jsonl", True), ("A.JSONL.GZ", True), ("a.csv.zst", True), ("a.parquet", True)]
    + [("a.parquet.gz", False), ("a.jsonl.bz2", False), ("a.gz", False), ("jsonl", False), ("a.txt.gz", False)],
)
def test_names_tell_what_can_be_read(name: str, known: bool) -> None:
    assert readable(name) is known


def test_a_null_in_an_object_of_parquet_is_a_key_that_is_not_there(tmp_path: Path) -> None:
    rows = [
        {"meta": {"x": 1, "in": [{"a": None, "b": "c"}]}, "none": None},
        {"meta": {"x": None, "in": []}, "none": "n"},
    ]
    assert values(write_parquet(tmp_path / "a.parquet", rows)) == [
        {"meta": {"x": 1, "in": [{"b": "c"}]}, "none": None},
        {"meta": {"in": []}, "none": "n"},
    ]


def test_no_reader_but_json_holds_a_file(tmp_path: Path) -> None:
    """Of some 10 MB each. What Arrow itself holds is not seen here: see benchmarks/data_stream.py."""
    rows = [{"text": f"{number} " * 400} for number in range(5_000)]
    write_parquet(tmp_path / "a.parquet", rows)
    lines = write_jsonl(tmp_path / "b.jsonl", rows).read_bytes()
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines, 1))
    (tmp_path / "d.jsonl.zst").write_bytes(zstd(lines))
    write_csv(tmp_path / "e.csv", rows)
    del rows
    for file in sorted(tmp_path.iterdir()):
        tracemalloc.start()
        try:
            count = sum(1 for _ in open_table(file, file.name).records)
            held = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (count, held < 4_000_000) == (5_000, True), f"{file.name}: {held:,} bytes"
