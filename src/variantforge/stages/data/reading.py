"""The rows of a declared dataset, read from its files or the Hub and brought into canonical content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from variantforge.errors import DataError
from variantforge.spec.family import RowsDataset
from variantforge.stages.data.formats import FORMATS
from variantforge.stages.data.formats.recognise import Shape, no_column, recognise
from variantforge.stages.data.hub import open_hub
from variantforge.stages.data.sources import BadRow, Record, Table, open_table
from variantforge.step import Pin


class Reading:
    """Iterate once, for records whose values are content; then ``facts`` tells which format was read, and why.

    ``files``: names under ``pin.at``, when that is a folder.
    """

    def __init__(self, name: str, section: RowsDataset, pin: Pin, files: Sequence[str]) -> None:
        self._name, self._section, self._pin, self._files = name, section, pin, files
        self._shape = None if section.format == "auto" else self._recognised("", {})
        self._seen: dict[str, None] = {}  # columns met so far, in order
        self._shape_told = False

    @property
    def facts(self) -> dict[str, Any]:
        if self._shape is None:
            return {"format": "auto", "format_why": "no row could be read", "ignored_columns": []}
        ignored = sorted(self._seen.keys() - self._shape.read)
        return {"format": self._shape.name, "format_why": self._shape.why, "ignored_columns": ignored}

    @property
    def notes(self) -> list[str]:
        """What a person should know of how the rows were read: a guess that could have been another."""
        if self._shape is None or not self._shape.doubtful:
            return []
        return [f"{self._name}: read as {self._shape.name}: {self._shape.why}"]

    def __iter__(self) -> Iterator[Record]:
        count = max(len(self._files), 1)
        for index, table in enumerate(self._tables()):
            self._prove_columns(table)
            for record in table.records:
                done = (index + record.done) / count
                yield Record(record.place, self._content(record), done)
        self._prove_named_columns_were_met()

    def _tables(self) -> Iterator[Table]:
        at, path = self._pin.at, self._section.path
        if "://" in path:
            path = path.partition("?")[0]  # what follows may be a signature
        if at.startswith("hub:"):
            repo, _, commit = at.removeprefix("hub:").partition("@")
            yield open_hub(repo, commit, subset=self._section.subset, split=self._section.split)
        elif Path(at).is_file():
            yield open_table(Path(at), path)
        else:
            whole = len(self._files) == 1 and path.endswith(self._files[0])  # the path names the file, not a folder
            for file in self._files:
                yield open_table(Path(at, file), path if whole else f"{path.rstrip('/')}/{file}")

    def _content(self, record: Record) -> dict[str, Any] | BadRow:
        values = record.values
        if isinstance(values, BadRow):
            return values
        self._seen.update(dict.fromkeys(values))
        if self._shape is None:
            self._shape = self._recognised(record.place, values)
        try:
            return self._shape.content(values)
        except BadRow as bad:
            return self._with_shape(bad, self._shape.name)

    def _with_shape(self, bad: BadRow, name: str) -> BadRow:
        """The first bad row tells what was expected."""
        if self._shape_told:
            return bad
        self._shape_told = True
        return BadRow(bad.reason, f"{bad.detail.rstrip('.')}. A row of the format {name}: {FORMATS[name].shape}")

    def _recognised(self, place: str, values: Mapping[str, Any]) -> Shape:
        section = self._section
        shape = recognise(values, section.format, section.columns, section.keep)
        if shape is None:
            known = "\n".join(f"{name}: {', '.join(form.required)}" for name, form in FORMATS.items())
            raise DataError(
                f"{place}  no known format has the columns: {', '.join(values) or 'none'}",
                why=f"The formats and the columns that each needs:\n{known}",
                next=f"name the format and its columns, e.g. datasets.{self._name}: {_advice(list(values))}",
            )
        if section.keep and FORMATS[shape.name].kind != "prompt_only":
            raise DataError(
                f"{place}  columns are kept beside prompts alone, and these rows are {shape.name}",
                why=f"They have {shape.why}.",
                next=f"take keep out of datasets.{self._name}, or set its format: prompt_only",
            )
        return shape

    @property
    def _named(self) -> list[str]:
        """Columns that the user named: they must stand in a row at least."""
        return [*self._section.columns.values(), *self._section.keep]

    def _prove_columns(self, table: Table) -> None:
        """A header is known before the rows: what it lacks is told once, not once a row."""
        if table.columns is None:
            return
        for column in [*(self._shape.needed if self._shape else ()), *self._named]:
            if column not in table.columns:
                raise self._missing(table.name, column, table.columns)

    def _prove_named_columns_were_met(self) -> None:
        for column in self._named:
            if self._seen and column not in self._seen:
                raise self._missing(self._section.path, column, list(self._seen))

    def _missing(self, place: str, column: str, present: Sequence[str]) -> DataError:
        if column in self._section.keep:
            return DataError(f"{place}  {no_column(column, present)}", next=f"correct datasets.{self._name}.keep")
        field = {column: field for field, column in self._section.columns.items()}.get(column, column)
        return DataError(
            f"{place}  {no_column(column, present)}",
            why=f"Dataset '{self._name}' needs it for the field '{field}'"
            + (f" of the format {self._section.format}." if self._section.format != "auto" else "."),
            next=f"correct datasets.{self._name}.columns: {{{field}: <column of the file>}}",
        )


_PROMPTS = ("prompt", "question", "query", "instruction", "problem", "input")
_ANSWERS = ("completion", "answer", "response", "output", "solution")


def _advice(present: Sequence[str]) -> str:
    """What to write for columns of no known format: a guess for people, from the names that many datasets use."""
    asked = next((name for name in _PROMPTS if name in present), None)
    answer = next((name for name in _ANSWERS if name in present), None)
    if asked and answer:
        return f"{{format: prompt_completion, columns: {{prompt: {asked}, completion: {answer}}}}}"
    return f"{{format: text, columns: {{text: {next(iter(present), 'body')}}}}}"
