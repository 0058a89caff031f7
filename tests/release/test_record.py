"""release.json and variantforge.json: one canonical text, read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variantforge.errors import IntegrityError
from variantforge.release.record import (
    CollectionRecord,
    FileDigest,
    Index,
    Item,
    Lineage,
    Record,
    Released,
    Trailer,
    is_version,
    parse_lineage,
    parse_record,
)
from variantforge.release.strict_json import LIMIT_BYTES, is_plain_path

OID, SHA = "a" * 40, "b" * 64
RECORD = Record(
    family="toys",
    version="1.2.0",
    channel="stable",
    index=Index("acme/toys", {"README.md": SHA}),
    repos={
        "acme/toys-code": Released(OID, SHA, "1.0.0"),
        "acme/toys-code-GGUF": Released(OID, SHA, "1.2.0", "too bad"),
    },
    supersedes="1.3.0",
    withheld={"acme/toys-never": "no good"},
    collection=CollectionRecord("Toys", "Small things", (Item("acme/toys-code", "take this"),)),
    lock=SHA,
    tools={"trl": "1.16.0"},
)
LINEAGE = Lineage("toys", "acme/toys-code", {"README.md": FileDigest(SHA, 3)}, {"form": "merged", "steps": {"a": "b"}})


def parse(text: str) -> Record:
    return parse_record(text.encode(), "release.json of acme/toys")


def test_a_record_is_read_as_it_was_written() -> None:
    assert parse(RECORD.text) == RECORD
    assert parse(replace(RECORD, collection=None).text).collection is None
    assert RECORD.text.endswith("}\n")


def test_a_record_without_tools_is_read() -> None:
    older = json.loads(RECORD.text)
    del older["tools"], older["lock"]
    assert parse(json.dumps(older)) == replace(RECORD, tools={}, lock="")


words = st.text(max_size=20)
repo_ids = st.text("abzABZ019_.-", min_size=1, max_size=9).map("acme/x{}".format)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
released = st.builds(Released, st.text("0123456789abcdef", min_size=40, max_size=40), digests, st.just("0.1.0"), words)
collections = st.builds(CollectionRecord, words, words, st.lists(st.builds(Item, repo_ids, words)).map(tuple))
records = st.builds(
    Record,
    family=words,
    version=st.sampled_from(["1.0.0", "0.1.0-rc.1", "2.0.0+x"]),
    channel=st.sampled_from(["stable", "candidate"]),
    index=st.builds(Index, repo_ids, st.dictionaries(st.sampled_from(["README.md", "a/b"]), digests)),
    repos=st.dictionaries(repo_ids, released),
    withheld=st.dictionaries(repo_ids, words),
    collection=st.none() | collections,
    visibility=st.sampled_from(["public", "private"]),
    gated=st.sampled_from(["no", "auto", "manual"]),
)


@given(records)
def test_reading_and_writing_are_inverses(record: Record) -> None:
    assert parse(record.text) == record
    assert parse(record.text).text == record.text


def test_the_id_is_that_of_the_content_and_not_of_commits_or_settings() -> None:
    same = {repo: replace(it, commit="c" * 40, refused="x") for repo, it in RECORD.repos.items()}
    assert replace(RECORD, repos=same, visibility="private", collection=None, withheld={}).id == RECORD.id
    others = [
        replace(RECORD, version="1.2.1"),
        replace(RECORD, channel="candidate"),
        replace(RECORD, before=RECORD.id),
        replace(RECORD, index=Index("acme/toys", {"README.md": "c" * 64})),
        replace(RECORD, repos={"acme/toys-code": RECORD.repos["acme/toys-code"]}),
    ]
    assert len({RECORD.id, *(other.id for other in others)}) == 6
    assert RECORD.id.startswith("stable-1.2.0-")


def edited(change: Callable[[dict[str, Any]], object]) -> str:
    value = json.loads(RECORD.text)
    change(value)
    return json.dumps(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON"),
        ("[]", "no object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": NaN}', "NaN"),
        (" " * (LIMIT_BYTES + 1), "bytes, more than"),
        (edited(lambda it: it.update(format=2)), "its format is 2"),
        (edited(lambda it: it.update(more=1)), "more is unknown"),
        (edited(lambda it: it.update(version="1.3.0")), "it was edited"),
        (edited(lambda it: it["repos"]["acme/toys-code"].update(tree="c" * 64)), "it was edited"),
        (
            edited(lambda it: it["repos"]["acme/toys-code"].update(commit="main")),
            "repos.acme/toys-code.commit is no commit",
        ),
        (edited(lambda it: it["repos"].update({"../x": {}})), "no repo id"),
        (edited(lambda it: it["repos"].update({"evil/x": it["repos"].pop("acme/toys-code")})), "evil/x is not of acme"),
        (edited(lambda it: it["index"]["files"].update({"../../etc/passwd": SHA})), "no path inside a repo"),
        (edited(lambda it: it.update(channel="nightly")), "channel is none of"),
        (edited(lambda it: it.update(version="1.0.0/../x")), "version is no version"),
        (edited(lambda it: it["collection"].update(items=3)), "collection.items is no list"),
        (edited(lambda it: it.pop("collection")), "collection is missing"),
        (edited(lambda it: it.update(repos=None)), "repos is no object"),
    ],
)
def test_what_we_would_not_write_like_that_is_refused_with_the_place(text: str, reason: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse(text)
    assert reason in caught.value.what
    assert "release.json of acme/toys" in caught.value.what
    assert caught.value.next


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_reading_fail_otherwise(data: bytes) -> None:
    for read in (parse_record, parse_lineage):
        with pytest.raises(IntegrityError):
            read(data, "it")


def test_a_lineage_is_read_as_it_was_written_with_what_else_it_tells() -> None:
    assert parse_lineage(LINEAGE.text.encode(), "it") == LINEAGE
    assert LINEAGE.paths == {"README.md", "variantforge.json"}
    assert LINEAGE.tree(LINEAGE.text.encode()) != replace(LINEAGE, files={}).tree(LINEAGE.text.encode())


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../b", "a//b", "", "a\\b", "a\nb", ".git/config", "x/.GIT/y"]
)
def test_a_path_that_leaves_the_repo_is_refused(path: str) -> None:
    assert not is_plain_path(path)
    with pytest.raises(IntegrityError, match="no path inside a repo"):
        parse_lineage(replace(LINEAGE, files={path: FileDigest(SHA, 1)}).text.encode(), "it")


def test_a_trailer_is_found_among_the_lines_of_a_message() -> None:
    trailer = RECORD.trailer("acme/toys-code")
    assert Trailer.find(f"words\n\n{trailer}\n") == trailer
    assert Trailer.find(f"words {trailer} words") is None
    assert Trailer.find("") is None


@pytest.mark.parametrize(
    ("version", "good"),
    [("1.2.0", True), ("1.2.0-rc.1", True), ("1.2.0+cu12", True), ("1.2", False), ("1.2.0-a..b", False)]
    + [("1.2.0-x.lock", False), ("1.2.0-" + "x" * 100, False), ("1.2.0-é", False)],
)
def test_a_version_must_fit_a_tag(version: str, good: bool) -> None:
    assert is_version(version) is good
