from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variantforge.stages.rows import (
    as_answered,
    as_chat,
    encode_row,
    kind_of,
    make_row,
    messages_of,
    read_rows,
    row_id,
    texts_of,
    write_rows,
)

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


ASK, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", "1+1?"), ("assistant", "2"), ("assistant", "3"))
)
CONTENTS = {
    "messages": {"messages": [ASK, GOOD]},
    "text": {"text": "one"},
    "preference": {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
    "unpaired_preference": {"prompt": [ASK], "completion": [BAD], "label": False},
    "prompt_only": {"prompt": [ASK], "answer": "2"},
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_row_is_of_the_kind_that_its_content_has(kind: str) -> None:
    row = make_row("s", CONTENTS[kind])
    assert kind_of(row) == kind
    assert {name: row[name] for name in CONTENTS[kind]} == CONTENTS[kind]


def test_something_else_is_no_row() -> None:
    with pytest.raises(KeyError, match="question"):
        kind_of({"question": "?"})


def test_of_a_pair_the_chosen_answer_is_scored_and_of_a_bad_one_or_a_prompt_nothing() -> None:
    rows = {kind: make_row("s", content) for kind, content in CONTENTS.items()}
    assert as_answered(rows["preference"])["messages"] == [ASK, GOOD]  # type: ignore[index]
    assert as_answered(rows["unpaired_preference"]) is as_answered(rows["prompt_only"]) is None
    assert as_answered(make_row("s", CONTENTS["unpaired_preference"] | {"label": True})) is not None
    assert as_answered(rows["text"]) == rows["text"]
    assert as_chat(rows["unpaired_preference"])["messages"] == [ASK, BAD]
    assert as_chat(rows["prompt_only"])["messages"] == [ASK]


def test_all_text_of_a_row_is_told_in_reading_order() -> None:
    call = {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [{"function": {"name": "f"}}]}
    row = make_row("s", {"prompt": [ASK], "chosen": [call], "rejected": [BAD], "tools": [{"name": "f"}]})
    assert list(texts_of(row)) == ['[{"name":"f"}]', "1+1?", "hm", '[{"function":{"name":"f"}}]', "3"]
    assert [message["role"] for message in messages_of(row)] == ["user", "assistant", "assistant"]
