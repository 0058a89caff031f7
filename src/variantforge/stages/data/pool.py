"""The rows of all sources of a variant, left on disk: where each line starts, which leave, and for which."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from variantforge.errors import Interrupted
from variantforge.fsops import writing
from variantforge.stages.rows import HELDOUT, TRAIN, encode_row
from variantforge.step import StepContext

BASE, AGAINST = "base", "against:"  # roles of inputs that are no sources; the second with a name, of pins too
DROPPED = "dropped.jsonl"
SIDES = (HELDOUT, TRAIN)
_BEAT = 500
Row = Mapping[str, Any]
Lines = dict[str, list["Line"]]  # source -> its rows, in the order of its file


class Line(NamedTuple):
    """A row that stays on disk: its id, where its line starts, and its size (1, or its tokens)."""

    id: str
    offset: int
    size: int


class Standing(NamedTuple):
    """A row and where it stands. ``side``: the file that it is in."""

    side: str
    source: str
    line: Line


class Pool:
    """``lines``: side -> source -> rows that stay. ``dropped``: one record for each row that left.

    Use as a context manager: it keeps the sources' files open.
    """

    def __init__(self, context: StepContext, sources: Sequence[str]) -> None:
        self.context, self.sources = context, sources
        self.lines: dict[str, Lines] = {side: {name: [] for name in sources} for side in SIDES}
        self.dropped: list[dict[str, Any]] = []
        self._open = ExitStack()
        self._files: dict[tuple[str, str], IO[bytes]] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def index(self, side: str, size: Callable[[Row], int], *, unique: bool) -> int:
        """Reads a side of every source; returns how many rows were left out since an earlier source has the same."""
        seen: dict[str, str] = {}
        twins = 0
        for source, offset, row in self._all(side):
            if unique and row["id"] in seen:
                twins += 1
                line = Line(row["id"], offset, 0)
                self.tell(Standing(side, source, line), "equal", of=row["id"], of_source=seen[row["id"]])
                continue
            seen[row["id"]] = source
            self.lines[side][source].append(Line(row["id"], offset, size(row)))
        return twins

    def drop(self, standings: Sequence[Standing]) -> None:
        """Takes rows out; why they left is told with ``tell``."""
        gone = {(one.side, one.source, one.line.offset) for one in standings}
        for side, source in {(one.side, one.source) for one in standings}:
            lines = self.lines[side][source]
            self.lines[side][source] = [line for line in lines if (side, source, line.offset) not in gone]

    def tell(self, standing: Standing, why: str, **more: Any) -> None:
        """Notes a row that leaves, for ``dropped.jsonl``."""
        where = {"id": standing.line.id, "source": standing.source, "side": Path(standing.side).stem}
        self.dropped.append({**where, "why": why, **more})

    def write_dropped(self) -> None:
        with writing(self.context.out / DROPPED) as file:
            for record in sorted(self.dropped, key=lambda one: (one["why"], one["side"], one["source"], one["id"])):
                file.write(encode_row(record))

    def standings(self, sides: Sequence[str] = SIDES) -> list[Standing]:
        """All rows that stay, as they lie on disk."""
        return [
            Standing(side, source, line)
            for side in sides
            for source, lines in self.lines[side].items()
            for line in lines
        ]

    def rows(self, standings: Sequence[Standing]) -> Iterator[Row]:
        """The rows one after the other, with a sign of life now and then."""
        for number, standing in enumerate(standings):
            self.beat(number, len(standings))
            yield self.row(standing)

    def row(self, standing: Standing) -> Row:
        row: Row = json.loads(self.bytes_of(standing))
        return row

    def bytes_of(self, standing: Standing) -> bytes:
        """The row's line as it lies there."""
        where = (standing.side, standing.source)
        if where not in self._files:
            path = self.context.inputs[standing.source].path / standing.side
            self._files[where] = self._open.enter_context(path.open("rb"))
        self._files[where].seek(standing.line.offset)
        return self._files[where].readline()

    def beat(self, number: int, total: int) -> None:
        """A sign of life now and then, and an ear for the wish to stop."""
        if number % _BEAT == 0:
            self.context.progress(number, total, "row")
            if self.context.stopping():
                raise Interrupted("stopped while rows were mixed", next="run the same command to go on")

    def _all(self, side: str) -> Iterator[tuple[str, int, Row]]:
        number = 0
        total = sum(self.context.inputs[name].facts[Path(side).stem] for name in self.sources)
        for source in self.sources:
            for offset, row in _offsets(self.context.inputs[source].path / side):
                self.beat(number, total)
                number += 1
                yield source, offset, row


def _offsets(path: Path) -> Iterator[tuple[int, Row]]:
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            yield offset, json.loads(line)
            offset += len(line)
