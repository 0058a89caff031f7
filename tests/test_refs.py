"""Names with a revision: what is understood, what is refused, and that text and ref are inverses."""

from __future__ import annotations

import pytest

from variantforge.refs import Ref

GOOD = {
    "org/name": Ref("hub", "org/name"),
    "org/name@v1.0": Ref("hub", "org/name", "v1.0"),
    "./folder": Ref("path", "./folder"),
    "~/rows.jsonl": Ref("path", "~/rows.jsonl"),
    "package:dist/a/b.gguf": Ref("package", "dist/a/b.gguf"),
    "https://data.example.org/a/rows.jsonl?x=1": Ref("url", "https://data.example.org/a/rows.jsonl?x=1"),
    "http://localhost:8000/rows.jsonl": Ref("url", "http://localhost:8000/rows.jsonl"),
    "http://127.0.0.1/rows.jsonl": Ref("url", "http://127.0.0.1/rows.jsonl"),
}


@pytest.mark.parametrize("text", GOOD)
def test_a_name_is_understood_and_written_as_it_was(text: str) -> None:
    assert Ref.parse(text) == GOOD[text]
    assert str(Ref.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://example.org/rows.jsonl", "is not read: write https://"),
        ("http://localhost.example.org/rows.jsonl", "is not read: write https://"),
        ("ftp://example.org/rows.jsonl", "is not read: write https://"),
        ("file:///etc/passwd", "is not read: write https://"),
        ("s3://bucket/rows.jsonl", "is not read: write https://"),
        ("https:///rows.jsonl", "is no address of a file"),
        ("https://example.org/a b.jsonl", "is no address of a file"),
        ("https://example.org/é.jsonl", "is no address of a file"),
        ("https://example.org/a\n.jsonl", "is no address of a file"),
        ("https://me:secret@example.org/rows.jsonl", "holds a name or password"),
        ("https://me@example.org/rows.jsonl", "holds a name or password"),
        ("https://example.org:port/rows.jsonl", "is no address: Port could not be cast"),
        ("https://[::1/rows.jsonl", "is no address: Invalid IPv6 URL"),
        ("rows.jsonl", "is neither a Hub id .* Did you mean './rows.jsonl'"),
        ("package:dist", "is not a package file"),
    ],
)
def test_a_name_that_is_none_is_told(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Ref.parse(text)
    assert "secret" not in str(caught.value)
