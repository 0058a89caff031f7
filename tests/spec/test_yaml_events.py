from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from variantforge.spec.yaml_events import MAX_DEPTH, MAX_NODES, Mark, plain_value, read_yaml


def value_of(text: str) -> Any:
    root, complaints = read_yaml(text)
    assert root is not None
    assert complaints == []
    return root.value


def sentences(text: str) -> list[str]:
    return [complaint.text for complaint in read_yaml(text)[1]]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *((word, word) for word in ("yes", "no", "on", "off", "Yes", "NO", "y", "n", "nULL", "tRUE")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-12", -12),
        ("+3", 3),
        ("9223372036854775807", 2**63 - 1),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0b11", "0b11"),
        ("0o8", "0o8"),
        ("-0x1", "-0x1"),
        ("2.0e-4", 2.0e-4),
        ("2e-4", 2e-4),
        ("2E4", 2e4),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1.5e+3", -1500.0),
        ("1.2.3", "1.2.3"),
        ("1e", "1e"),
        (".", "."),
        ("-", "-"),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("<", "<"),
    ],
)
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(written: str, value: Any) -> None:
    found = plain_value(written)
    assert (found, type(found)) == (value, type(value))
    if written not in ("-", ""):
        assert value_of(f"key: {written}\n") == {"key": value}


@pytest.mark.parametrize("written", [".inf", "-.INF", "+.Inf", ".nan", ".NaN", "1e999", "-1e400"])
def test_numbers_that_are_not_finite_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"not numbers a family file can use|too large"):
        plain_value(written)


@pytest.mark.parametrize("written", ["9223372036854775808", "-9223372036854775808", "9" * 10_000, "0x" + "f" * 99])
def test_whole_numbers_of_more_than_64_bits_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        plain_value(written)


@pytest.mark.parametrize("quoted", ["'17'", '"17"', "|-\n  17", ">-\n  17"])
def test_what_is_quoted_is_text(quoted: str) -> None:
    assert value_of(f"key: {quoted}\n") == {"key": "17"}


def test_every_key_and_value_knows_its_line_and_column() -> None:
    root, _ = read_yaml("a: 1\nb:\n  - x\n  - {c: 'd'}\n")
    assert root is not None
    b = root.children["b"]  # type: ignore[index, call-overload]
    assert b.key_mark == Mark(2, 1)
    assert b.children[0].mark == Mark(3, 5)
    assert b.children[1].children["c"].key_mark == Mark(4, 6)
    assert b.children[1].children["c"].mark == Mark(4, 9)


def test_columns_count_characters_not_bytes() -> None:
    root, _ = read_yaml("{ключ: 'ä', b: 2}")
    assert root is not None
    assert root.children["b"].mark == Mark(1, 16)  # type: ignore[index, call-overload]


def test_what_stands_before_a_mistake_is_told_with_it() -> None:
    assert sentences("a: &x 1\na: 2\nb: !!str 3\nc: *x\nd: [1\n") == [
        "anchors are not read: remove '&x'",
        "this key stands twice; the first is on line 1",
        "tags are not read: remove '!!str', write the plain value",
        "aliases are not read: write the value of '*x' out here",
        "a bracket that opened on line 5 is not closed, or a ',' is missing",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "empty"),
        ("%TAG ! tag:x:\n---\na: 1", "directive"),
        ("a: 1\n--- \nb: 2", "second document"),
        ("a: 1\n...\nb: 2", "nothing may follow"),
        ("- a\nb: 1", "goes on with something else"),
        ("a: }", "a value was expected"),
        ('a: "\\q"', "unknown escape"),
        ('a: "\\ud800"', "escape names no character"),
        ("[a]: b", "a key is text"),
        ("true: b", "quote it: 'true'"),
        ("*a : b", "aliases"),
        ("a\nb", None),
        ("a:\n\t- b", "tab"),
        ("a: |\n  b\n\tc", "tab"),
        ("a: 'b\n", "ends inside a quoted text"),
        ('a: "x\ud7ff\0"', "not readable as YAML"),
    ],
)
def test_what_cannot_be_read_is_told_in_plain_words(text: str, sentence: str | None) -> None:
    found = sentences(text)
    assert found == [] if sentence is None else any(sentence in line for line in found)


def test_depth_and_number_of_values_are_bounded() -> None:
    assert value_of("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert sentences("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) == ["nested more than 32 deep"]
    assert sentences("[" * 100_000) == ["nested more than 32 deep"]
    assert len(value_of(f"[{'a,' * (MAX_NODES - 1)}]")) == MAX_NODES - 1
    assert "more than 50,000 values" in sentences(f"[{'a,' * MAX_NODES}]")[0]


def test_the_parser_written_in_python_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [1, 2e-4, yes, 'x', \"y\\n\"]\nb: {c: !!int 3, d: &e f, <<: g}\na: |\n  text\n"
    with_c = read_yaml(text)
    monkeypatch.delattr(yaml, "CLoader")
    without_c = read_yaml(text)
    assert with_c[1] == without_c[1]
    assert with_c[0] is not None
    assert without_c[0] is not None
    assert with_c[0].value == without_c[0].value == {"a": [1, 2e-4, "yes", "x", "y\n"], "b": {"c": "3", "d": "f"}}


def test_floats_are_read_exactly() -> None:
    assert math.isclose(value_of("x: 0.1")["x"], 0.1, rel_tol=0)
