from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variantforge.stages.rows import encode_row, make_row, read_rows, row_id, write_rows

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_the_id_is_the_hash_of_the_canonical_content() -> None:
    expected = hashlib.sha256(b'{"text":"caf\\u00e9"}').hexdigest()[:16]
    assert row_id({"text": "café"}) == expected


def test_the_id_does_not_depend_on_source_or_order_of_keys() -> None:
    one = make_row("a", {"messages": [{"role": "user", "content": "x"}]})
    other = make_row("b", {"messages": [{"content": "x", "role": "user"}]})
    assert one["id"] == other["id"]
    assert one["id"] != make_row("a", {"text": "x"})["id"]


@settings(max_examples=30, deadline=None)
@given(contents=st.lists(text))
def test_what_is_written_is_read_whatever_the_text_holds(
    tmp_path_factory: pytest.TempPathFactory, contents: list[str]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    rows = [make_row("s", {"text": content}) for content in contents]
    assert write_rows(path, rows) == len(rows)
    assert list(read_rows(path)) == rows


def test_a_line_separator_inside_a_text_does_not_end_the_row(tmp_path: Path) -> None:
    rows = [make_row("s", {"text": "one\u2028two\x85three\rfour\nfive"})]
    write_rows(tmp_path / "x.jsonl", rows)
    assert (tmp_path / "x.jsonl").read_bytes().count(b"\n") == 1
    assert list(read_rows(tmp_path / "x.jsonl")) == rows


def test_lines_are_canonical_json_in_utf8() -> None:
    assert encode_row({"text": "é", "id": "1", "source": "s"}) == '{"id":"1","source":"s","text":"é"}\n'.encode()


def test_nothing_is_written_when_a_row_cannot_be_encoded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        write_rows(tmp_path / "x.jsonl", [{"text": "good"}, {"text": "\ud800"}])
    assert list(tmp_path.iterdir()) == []
