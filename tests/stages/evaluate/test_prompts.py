"""Prompts as they lie in a file, and as held-out rows hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stages.evaluate.subjects import data_artifact
from variantforge.errors import DataError
from variantforge.stages.evaluate.prompts import heldout_items, of_text, read_items, suite_texts_of
from variantforge.stages.rows import make_row

USER = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "So."}


def written(root: Path, *lines: Any) -> Path:
    path = root / "p.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_a_line_is_a_prompt_or_a_chat_with_what_else_it_says(tmp_path: Path) -> None:
    lines = [
        {"prompt": "Why?"},
        {"messages": [USER], "id": 7, "tools": []},
        {"prompt": "Why?", "extra": 1, "gone": None},
    ]
    one, two, three = read_items(written(tmp_path, *lines), "p.jsonl")
    assert (one.messages, dict(one.more), len(one.id)) == ((USER,), {}, 16)
    assert (two.id, two.messages, two.more) == ("7", (USER,), {"tools": []})
    assert three.more == {"extra": 1}
    assert one.hash == two.hash == three.hash
    assert one.id != three.id
    assert [text.text for text in suite_texts_of([one, of_text("x", "Hm")])] == ["Why?", "Hm"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({}, "one of 'prompt' (a text) and 'messages' (a list) is wanted"),
        ({"prompt": "a", "messages": [USER]}, "one of 'prompt'"),
        ({"prompt": "  "}, "'prompt' is not a text with something in it"),
        ({"prompt": 3}, "'prompt' is not a text"),
        ({"messages": []}, "'messages' is not a list of messages"),
        ({"messages": ["x"]}, "a message has a 'role', one of system, user, assistant, tool"),
        ({"messages": [{"role": "human", "content": "x"}]}, "a message has a 'role'"),
        ({"messages": [{"role": "user", "content": 3}]}, "the 'content' of a message is a text"),
        ({"messages": [USER, ANSWER]}, "the last message is the assistant's: there is nothing to answer"),
        ("[1]", ""),
        ("{", ""),
        ({"prompt": "x", "odd": 1}, "odd is odd"),
        ({"prompt": "first"}, "stands in an earlier line too"),
    ],
    ids=range(13),
)
def test_what_is_no_prompt_is_told_with_its_place(tmp_path: Path, line: Any, told: str) -> None:
    path = written(tmp_path, {"prompt": "first"}, line)
    with pytest.raises(DataError, match=r"p\.jsonl:2  ") as failed:
        read_items(path, "p.jsonl", lambda item: "odd is odd" if "odd" in item.more else "")
    assert told in failed.value.what
    assert failed.value.next == "correct p.jsonl"


def test_a_file_without_prompts_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no prompts") as failed:
        read_items(written(tmp_path), "p.jsonl")
    assert "p.jsonl" in failed.value.next


def test_of_held_out_rows_each_question_is_asked_once_in_an_order_of_their_own(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    rows = [
        make_row("a", {"messages": [USER, ANSWER]}),
        make_row("a", {"messages": [USER, {"role": "assistant", "content": "Other."}]}),
        make_row("b", {"messages": [system, USER, ANSWER, {"role": "user", "content": "And?"}, ANSWER]}),
        make_row("b", {"prompt": [{"role": "user", "content": "Go."}]}),
        make_row("c", {"prompt": [{"role": "user", "content": "Pick."}], "chosen": [ANSWER], "rejected": [ANSWER]}),
        make_row("c", {"text": "plain"}),
        make_row("c", {"messages": [USER, ANSWER], "tools": [{"type": "function"}]}),
        make_row("c", {"messages": [ANSWER]}),
    ]
    items, passed = heldout_items(data_artifact(tmp_path, rows).path)
    assert passed == 3
    assert {item.text for item in items} == {"Why?", "Be brief.\nWhy?\nSo.\nAnd?", "Go.", "Pick."}
    assert [item.id for item in items] == sorted(item.id for item in items)
    again, _ = heldout_items(data_artifact(tmp_path / "b", rows[::-1]).path)
    assert [(item.id, item.messages) for item in again] == [(item.id, item.messages) for item in items]
