"""Laws of all formats: any row is content or a BadRow, and what was written is read as what it is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stages.data.test_formats import assistant, system, user
from tests.stages.data.test_formats_tools import CALLED, TOOL, calling, tool
from variantforge.hashing import canonical_json
from variantforge.stages.data.formats import FORMATS, kind_of_format
from variantforge.stages.data.formats.preferences import split
from variantforge.stages.data.formats.recognise import recognise
from variantforge.stages.data.sources import BadRow, open_table
from variantforge.stages.rows import KINDS, content_of, encode_row, kind_of, make_row, write_rows

text = st.text(min_size=1, max_size=8)
scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8)
words = st.sampled_from(
    ["role", "content", "from", "value", "user", "assistant", "gpt", "human", "tool", "tool_calls", "name", "function"]
    + ["arguments", "type", "text", "[]", "{}", "[{", '[{"role": "user", "content": "q"}]', '{"a": 1}']
)
leaves = scalar | words
any_json = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | text, inner, max_size=5), max_leaves=12
)
parts = st.sampled_from(
    [user("q"), user("r"), assistant("a"), assistant("b"), system("s"), calling(), tool("1"), CALLED, "x", 3, None]
)
columns = st.sampled_from(sorted({field for form in FORMATS.values() for field in form.fields}))
rows = st.dictionaries(columns, any_json | st.lists(parts, max_size=4) | text, max_size=6)


def read(values: dict[str, Any], wanted: str = "auto") -> dict[str, Any]:
    shape = recognise(values, wanted, {})
    if shape is None:
        raise BadRow("no format")
    return shape.content(values)


@settings(max_examples=300)
@given(rows, st.sampled_from(["auto", *FORMATS]))
def test_any_row_is_content_that_can_be_written_or_a_bad_row(values: dict[str, Any], wanted: str) -> None:
    with suppress(BadRow):
        found = read(values, wanted)
        assert kind_of(found) == (kind_of_format(wanted) or kind_of(found))
        encode_row(make_row("d", found))


@st.composite
def chats(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A whole conversation: turns, calls, answers of tools."""
    said = text.filter(str.strip).filter(lambda value: "\0" not in value)
    messages = [system(draw(said))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(user(draw(said)))
        for _ in range(draw(st.integers(0, 2))):
            messages += [calling(), tool(draw(said))]
        thoughts = {"reasoning_content": draw(said)} if draw(st.booleans()) else {}
        messages.append(assistant(draw(said)) | thoughts)
    return messages


@st.composite
def canonical(draw: st.DrawFn) -> dict[str, Any]:
    """Content of every kind, as rows hold it."""
    whole, kind = draw(chats()), draw(st.sampled_from(KINDS))
    tools = {"tools": [TOOL]} if draw(st.booleans()) else {}
    prompt, answer = whole[:-1], whole[-1:]
    match kind:
        case "messages":
            return {"messages": whole, **tools}
        case "text":
            return {"text": answer[0]["content"]}
        case "preference":
            return {"prompt": prompt, "chosen": answer, "rejected": [assistant(answer[0]["content"] + "!")], **tools}
        case "unpaired_preference":
            return {"prompt": prompt, "completion": answer, "label": draw(st.booleans()), **tools}
    said = draw(
        st.sampled_from([{}, {"answer": "4"}, {"tests": "assert f", "entry_point": "f"}, {"extra": {"a": [1]}}])
    )
    return {"prompt": prompt, **tools, **said}


@given(canonical())
def test_canonical_rows_are_read_as_what_they_are(content: dict[str, Any]) -> None:
    row = make_row("d", content)
    found = read(row)
    assert found == content_of(row)
    assert encode_row(make_row("d", found)) == encode_row(row)


@settings(max_examples=10)
@given(st.lists(canonical(), min_size=1, max_size=5))
def test_a_written_file_gives_its_rows_again(tmp_path_factory: Any, contents: list[dict[str, Any]]) -> None:
    path: Path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    kind = kind_of(contents[0])
    written = [make_row("d", content) for content in contents if kind_of(content) == kind]
    write_rows(path, written)
    shape = recognise(written[0], "auto", {})
    assert shape is not None
    records = [record.values for record in open_table(path, "train.jsonl").records]
    assert [make_row("d", shape.content(values)) for values in records if isinstance(values, dict)] == written


@given(st.data(), chats(), chats())
def test_a_split_conversation_put_together_is_what_it_was(data: st.DataObject, one: Any, other: Any) -> None:
    shared = data.draw(st.integers(0, len(one)))
    chosen, rejected = one, [*one[:shared], *other]
    with suppress(BadRow):
        prompt, better, worse = split(chosen, rejected)
        assert (prompt + better, prompt + worse) == (chosen, rejected)
        assert prompt[-1]["role"] in ("user", "tool")
        assert (better[0]["role"], worse[0]["role"]) == ("assistant", "assistant")


@given(chats())
def test_the_prompt_of_a_pair_with_another_last_answer_is_all_before_it(whole: list[dict[str, Any]]) -> None:
    row = read({"chosen": whole, "rejected": [*whole[:-1], assistant(whole[-1]["content"] + "!")]})
    assert (row["prompt"], row["chosen"]) == (whole[:-1], whole[-1:])


def test_the_order_of_keys_is_kept_within_tools_and_calls_alone() -> None:
    called = {"type": "function", "function": {"name": "f", "arguments": {"z": 1, "a": 2}}}
    row = make_row("d", {"tools": [TOOL], "messages": [user("q"), calling(called)]})
    line = encode_row(row).decode()
    assert '{"type":"function","function":{"name":"f","arguments":{"z":1,"a":2}}}' in line
    assert '{"content":"q","role":"user"}' in line
    assert canonical_json(content_of(row)) == canonical_json(content_of(make_row("e", row)))


def test_every_format_makes_a_kind_of_row_and_every_kind_has_one() -> None:
    assert {kind_of_format(name) for name in FORMATS} == set(KINDS)
    assert kind_of_format("auto") is None
