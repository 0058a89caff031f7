"""Declared columns and formats against what the files hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.data.test_sources import write_csv, write_parquet
from tests.stages.data.workbench import Workbench, make_dataset, rows_of, write_jsonl
from variantforge.errors import DataError

PAIRS = [{"question": "q", "answer": "a", "id": "7"}]
COLUMNS = {"prompt": "question", "completion": "answer"}


def test_named_columns_are_read_and_the_others_are_told_as_ignored(tmp_path: Path) -> None:
    for path in (
        write_csv(tmp_path / "d.csv", PAIRS),
        write_jsonl(tmp_path / "d.jsonl", PAIRS),
        write_parquet(tmp_path / "d.parquet", PAIRS),
    ):
        artifact = make_dataset(tmp_path, path, columns=COLUMNS)
        assert [message["content"] for message in rows_of(artifact)[0]["messages"]] == ["q", "a"]
        assert artifact.facts["format"] == "prompt_completion"
        assert artifact.facts["format_why"] == "columns question, answer"
        assert artifact.facts["ignored_columns"] == ["id"]


@pytest.mark.parametrize("format", ["auto", "prompt_completion"])
def test_a_csv_without_the_named_column_says_which_there_are(tmp_path: Path, format: str) -> None:
    path = write_csv(tmp_path / "d.csv", PAIRS)
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path, path, format=format, columns={"prompt": "question", "completion": "anwser"})
    assert "answer" in caught.value.what
    if format != "auto":
        assert str(caught.value) == (
            "./d.csv  no column 'anwser'; the columns are: question, answer, id. Did you mean 'answer'?\n"
            "Dataset 'd' needs it for the field 'completion' of the format prompt_completion.\n"
            "Next: correct datasets.d.columns: {completion: <column of the file>}"
        )


def test_an_optional_column_that_is_named_must_be_there(tmp_path: Path) -> None:
    rows = [{"instruction": "q", "output": "a", "context": "c"}]
    columns = {"input": "contxt"}
    for path in (write_csv(tmp_path / "d.csv", rows), write_jsonl(tmp_path / "d.jsonl", rows)):
        with pytest.raises(DataError, match=r"no column 'contxt'; .* Did you mean 'context'"):
            make_dataset(tmp_path, path, format="alpaca", columns=columns)


def test_an_optional_column_may_be_missing_from_some_json_rows(tmp_path: Path) -> None:
    rows = [{"instruction": "q", "output": "a"}, {"instruction": "r", "output": "b", "context": "c"}]
    artifact = make_dataset(tmp_path, write_jsonl(tmp_path / "d.jsonl", rows), columns={"input": "context"})
    assert {row["messages"][0]["content"] for row in rows_of(artifact)} == {"q", "r\n\nc"}


def test_columns_that_no_format_knows_are_told_with_the_formats(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path, write_jsonl(tmp_path / "d.jsonl", [{"body": "x"}]))
    assert caught.value.what == "./d.jsonl:1  no known format has the columns: body"
    assert "alpaca: instruction, output" in caught.value.why
    assert (
        caught.value.next == "name the format and its columns, e.g. datasets.d: {format: text, columns: {text: body}}"
    )


def test_a_folder_whose_second_file_lacks_the_column_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_csv(tmp_path / "data/1.csv", [{"text": "one"}])
    write_csv(tmp_path / "data/2.csv", [{"txt": "two"}])
    with pytest.raises(DataError, match=r"\./data/2\.csv  no column 'text'; the columns are: txt\. Did you mean 'txt'"):
        make_dataset(tmp_path, tmp_path / "data")


def test_a_file_changed_since_it_was_planned_is_not_taken_for_the_planned_one(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [{"text": "one"}])
    bench = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}).plan()
    path.write_text('{"text": "two"}\n')
    with pytest.raises(DataError, match="were changed while they were read"):
        bench.rows()


def test_a_column_that_is_kept_must_be_there(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "level": 3}]
    for path in (write_jsonl(tmp_path / "d.jsonl", rows), write_parquet(tmp_path / "d.parquet", rows)):
        assert rows_of(make_dataset(tmp_path, path, keep=["level"]))[0]["extra"] == {"level": 3}
        with pytest.raises(DataError, match=r"no column 'levl'; .* Did you mean 'level'"):
            make_dataset(tmp_path, path, keep=["levl"])


def test_columns_are_kept_beside_prompts_alone(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [{"prompt": "q", "completion": "a", "level": 3}])
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path, path, keep=["level"])
    assert str(caught.value) == (
        "./d.jsonl:1  columns are kept beside prompts alone, and these rows are prompt_completion\n"
        "They have columns prompt, completion.\n"
        "Next: take keep out of datasets.d, or set its format: prompt_only"
    )
    assert rows_of(make_dataset(tmp_path, path, keep=["level"], format="prompt_only"))[0]["extra"] == {"level": 3}


def test_columns_of_no_format_with_known_names_are_given_as_an_example(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path, write_jsonl(tmp_path / "d.jsonl", PAIRS))
    assert caught.value.next == (
        "name the format and its columns, e.g. datasets.d: "
        "{format: prompt_completion, columns: {prompt: question, completion: answer}}"
    )


def test_a_guess_that_could_be_another_is_told_in_a_note(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", [{"question": "q", "chosen": "c", "rejected": "r"}])
    bench = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}).plan()
    assert bench.rows().facts["format_why"] == "columns chosen, rejected, question"
    assert bench.notes == ["d: read as preference: columns chosen, rejected, question"]
    write_jsonl(tmp_path / "d.jsonl", [{"prompt": "q", "chosen": "c", "rejected": "r"}])
    bench = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}).plan()
    assert (bench.rows().facts["format"], bench.notes) == ("preference", [])


def test_only_the_first_bad_row_tells_the_shape(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "d.jsonl", [{"prompt": "q", "completion": "a", "label": label} for label in (1, 2, 3)]
    )
    with pytest.raises(DataError) as caught:
        make_dataset(tmp_path, path)
    assert caught.value.why == (
        "./d.jsonl:2  label is a number (2), not true or false. A row of the format unpaired_preference: "
        '{"prompt": "…", "completion": "…", "label": true}\n'
        "./d.jsonl:3  label is a number (3), not true or false"
    )
