"""One dataset's rows: bad ones told, equal ones dropped, each on its side for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stages.data.workbench import Workbench, chat, chats, ids, make_dataset, rows_of, write_jsonl
from variantforge.errors import DataError, Interrupted
from variantforge.stages.data.clean import Rules, sift
from variantforge.stages.data.sources import Record
from variantforge.stages.data.split import is_heldout
from variantforge.stages.rows import HELDOUT, TRAIN, row_id
from variantforge.step import Step, StepContext

texts = st.lists(st.text("abcdefgh", min_size=1, max_size=6), max_size=60)


def sifted(folder: Path, contents: list[str], **rules: Any) -> tuple[list[str], list[str]]:
    """Ids on the two sides."""
    folder.mkdir(exist_ok=True)
    context = StepContext(Step("data", 1, "rows"), {}, folder, folder)
    records = (Record(f"x:{number}", {"text": text}) for number, text in enumerate(contents))
    sift(context, records, Rules("d", **{"fraction": 0.3, **rules}))
    artifact = type("Folder", (), {"path": folder})
    return ids(artifact, TRAIN), ids(artifact, HELDOUT)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=25)
@given(before=texts.filter(bool), added=texts)
def test_adding_rows_moves_none(tmp_path_factory: pytest.TempPathFactory, before: list[str], added: list[str]) -> None:
    folder = tmp_path_factory.mktemp("sift")
    train, heldout = sifted(folder, before)
    more_train, more_heldout = sifted(folder, before + added)
    assert set(train) <= set(more_train)
    assert set(heldout) <= set(more_heldout)
    assert not set(more_train) & set(more_heldout)


@settings(deadline=None, max_examples=25)
@given(contents=texts.filter(bool), seed=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_decides_nothing_about_sides(
    tmp_path_factory: pytest.TempPathFactory, contents: list[str], seed: Any
) -> None:
    folder = tmp_path_factory.mktemp("sift")
    shuffled = seed.sample(contents, len(contents))
    assert [set(side) for side in sifted(folder, contents)] == [set(side) for side in sifted(folder, shuffled)]


@settings(deadline=None, max_examples=25)
@given(contents=texts.filter(bool))
def test_dropping_doubles_twice_drops_no_more(tmp_path_factory: pytest.TempPathFactory, contents: list[str]) -> None:
    folder = tmp_path_factory.mktemp("sift")
    once = list(dict.fromkeys(contents))
    assert sifted(folder, contents) == sifted(folder, once)
    assert sum(len(side) for side in sifted(folder, contents)) == len(once)


@settings(deadline=None, max_examples=25)
@given(contents=texts.filter(bool), added=texts, limit=st.integers(1, 20))
def test_a_limit_keeps_what_it_kept_unless_a_new_row_takes_its_place(
    tmp_path_factory: pytest.TempPathFactory, contents: list[str], added: list[str], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("sift")
    kept = set().union(*sifted(folder, contents, limit=limit))
    later = set().union(*sifted(folder, contents + added, limit=limit))
    assert len(kept) == min(limit, len(set(contents)))
    assert not (later - kept) & {row_id({"text": text}) for text in contents}


def test_a_limit_thins_both_sides_alike(tmp_path: Path) -> None:
    contents = [f"row {number}" for number in range(20_000)]
    train, heldout = sifted(tmp_path, contents, limit=4000, fraction=0.1)
    assert len(train) + len(heldout) == 4000
    assert 340 <= len(heldout) <= 460  # 400 expected, 19 standard deviation


def test_the_fraction_is_the_share_held_out(tmp_path: Path) -> None:
    _, heldout = sifted(tmp_path, [f"row {number}" for number in range(20_000)], fraction=0.05)
    assert 880 <= len(heldout) <= 1120  # 1000 expected, 31 standard deviation
    assert sifted(tmp_path, ["one"], fraction=0.0)[1] == []


def test_the_border_between_the_sides_is_exact() -> None:
    assert is_heldout("7fffffffffffffff", 0.5)
    assert not is_heldout("8000000000000000", 0.5)
    assert not is_heldout("0000000000000000", 0.0)


def test_rows_keep_the_order_of_the_file(tmp_path: Path) -> None:
    contents = [f"row {number}" for number in range(50)]
    train, _ = sifted(tmp_path, contents, fraction=0.0)
    assert train == [row_id({"text": text}) for text in contents]


def test_doubles_stay_when_the_policy_says_so_and_a_limit_counts_each(tmp_path: Path) -> None:
    assert len(sifted(tmp_path, ["a", "a", "b"], deduplicate=False, fraction=0.0)[0]) == 3
    assert len(sifted(tmp_path, ["a"] * 5, deduplicate=False, fraction=0.0, limit=3)[0]) == 3


def test_bad_rows_are_listed_by_place_and_the_rest_counted(tmp_path: Path) -> None:
    bad = [{"text": ""}, {"text": 1}, {"text": None}, {"other": "x"}, {"text": " "}, {"text": []}, {"text": "a\0"}]
    path = write_jsonl(tmp_path / "d.jsonl", [{"text": "good"}, *bad])
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path, path, format="text")
    assert str(caught.value) == (
        "7 of 8 rows of dataset 'd' cannot be used\n"
        './d.jsonl:2  text is empty. A row of the format text: {"text": "…"}\n'
        "./d.jsonl:3  text is a number, not text\n"
        "./d.jsonl:4  text is a missing value, not text\n"
        "./d.jsonl:5  no column 'text'; the columns are: other.\n"
        "./d.jsonl:6  text is empty\n"
        "… and 2 more\n"
        "Next: correct the rows, or leave them out with data_policy: {on_bad_row: skip}"
    )


def test_the_shape_that_was_expected_follows_a_whole_sentence(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [{"text": "good"}, {"other": "x"}])
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path, path, format="text")
    assert "no column 'text'; the columns are: other. A row of the format text: " in caught.value.why


def test_skipped_rows_are_counted_by_reason_and_told(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", [{"text": "good"}, {"text": ""}, {"text": 1}, {"text": " "}])
    bench = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}, data_policy={"on_bad_row": "skip"}).plan()
    artifact = bench.rows()
    assert artifact.facts["bad"] == {"text is empty": 2, "text is not text": 1}
    assert (artifact.facts["rows"], len(rows_of(artifact))) == (4, 1)
    assert bench.notes == [
        "d: 3 of 4 rows left out as bad (text is empty: 2, text is not text: 1); first: ./d.jsonl:2  "
        'text is empty. A row of the format text: {"text": "…"}'
    ]


def test_a_dataset_of_bad_rows_alone_is_an_error_even_when_they_may_be_skipped(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", [{"text": ""}])
    bench = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}, data_policy={"on_bad_row": "skip"}).plan()
    with pytest.raises(DataError, match="1 of 1 rows of dataset 'd' cannot be used") as caught:
        bench.rows()
    assert caught.value.next == "correct the row"


@pytest.mark.parametrize(
    ("name", "content"), [("d.jsonl", ""), ("d.json", "[]"), ("d.csv", "text\n"), ("d.jsonl", "\n\n")]
)
def test_an_empty_dataset_is_an_error(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="empty dataset: 'd' holds no rows"):
        make_dataset(tmp_path, tmp_path / name)


def test_dropped_doubles_are_counted_and_told(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", [*chats(5), chat("q0", "a0")])
    bench = Workbench(tmp_path, {"d": {"path": "./d.jsonl", "limit": 3}}).plan()
    assert bench.rows().facts["dropped"] == {"duplicates": 1, "over_limit": 2}
    assert bench.notes == ["d: 1 of 6 rows dropped, equal to an earlier one"]


def test_a_wish_to_stop_is_heard(tmp_path: Path) -> None:
    context = StepContext(Step("data", 1, "rows"), {}, tmp_path, tmp_path, stopping=lambda: True)
    with pytest.raises(Interrupted):
        sift(context, [Record("x:1", {"text": "one"})], Rules("d", 0.1))
    assert list(tmp_path.iterdir()) == []
