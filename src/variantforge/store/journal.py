"""What ran, when, and how it ended; and which artifact each place of a family used last (SQLite).

The folders in the store are the truth; the journal may be deleted, and only memory of the past is lost.
It keeps SQLite's rollback journal (not WAL), so that a store on a read-only disk can still be read.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from variantforge.errors import IntegrityError, VariantforgeError
from variantforge.stages.stage import Place
from variantforge.step import Step

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY, family TEXT NOT NULL, started REAL NOT NULL, ended REAL, outcome TEXT);
CREATE TABLE IF NOT EXISTS steps (
  run INTEGER NOT NULL REFERENCES runs, key TEXT NOT NULL, stage TEXT NOT NULL, label TEXT NOT NULL,
  outcome TEXT NOT NULL, seconds REAL NOT NULL, message TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS steps_by_key ON steps (key);
CREATE TABLE IF NOT EXISTS used (
  family TEXT NOT NULL, place TEXT NOT NULL, key TEXT NOT NULL, identity TEXT NOT NULL, refusal TEXT NOT NULL,
  PRIMARY KEY (family, place));
"""


@dataclass(frozen=True)
class Used:
    """The step that stood at a place when it was last applied. ``text`` is its identity as JSON."""

    key: str
    text: str
    refusal: str

    @cached_property
    def identity(self) -> dict[str, Any]:
        identity: dict[str, Any] = json.loads(self.text)
        return identity


class _Memory(Mapping[Place, Used]):
    """A mapping that is read when it is first asked for something."""

    def __init__(self, read: Callable[[], dict[Place, Used]]) -> None:
        self._read = read

    @cached_property
    def _rows(self) -> dict[Place, Used]:
        return self._read()

    def __getitem__(self, place: Place) -> Used:
        return self._rows[place]

    def __iter__(self) -> Iterator[Place]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


class Journal:
    """``path`` need not exist: reading then finds nothing, and writing makes it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _open(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        uri = f"{self.path.resolve().as_uri()}?mode={'rwc' if write else 'ro'}"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)) as connection:
                if write:
                    connection.executescript(_TABLES)
                yield connection
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise VariantforgeError(
                    f"cannot use {self.path}: {error}", next=f"df -h {self.path.parent}; ls -ld {self.path.parent}"
                ) from error
            raise IntegrityError(
                f"{self.path} is damaged: {error}",
                why="It only remembers what ran when; the artifacts are not touched.",
                next=f"rm {self.path}",
            ) from error

    def start(self, family: str) -> int:
        with self._open() as connection:
            cursor = connection.execute("INSERT INTO runs (family, started) VALUES (?, ?)", (family, time.time()))
            return int(cursor.lastrowid or 0)

    def end(self, run: int, outcome: str) -> None:
        with self._open() as connection:
            connection.execute("UPDATE runs SET ended = ?, outcome = ? WHERE id = ?", (time.time(), outcome, run))

    def record(self, run: int, step: Step, label: str, outcome: str, seconds: float, message: str = "") -> None:
        with self._open() as connection:
            row = (run, step.key, step.stage, label, outcome, seconds, message)
            connection.execute("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def use(self, family: str, rows: list[tuple[Place, Step, str]]) -> None:
        """Remembers the step (and its refusal) now standing at each place."""
        values = [(family, _text(place), step.key, step.text, refusal) for place, step, refusal in rows]
        with self._open() as connection:
            connection.execute("BEGIN")
            connection.executemany("INSERT OR REPLACE INTO used VALUES (?, ?, ?, ?, ?)", values)
            connection.execute("COMMIT")

    def used(self, family: str) -> Mapping[Place, Used]:
        """What the last apply used, by place; read when it is first asked for, which a plan without news never does."""
        return _Memory(lambda: self._used(family))

    def _used(self, family: str) -> dict[Place, Used]:
        if not self.path.exists():
            return {}
        with self._open(write=False) as connection:
            rows = connection.execute(
                "SELECT place, key, identity, refusal FROM used WHERE family = ?", (family,)
            ).fetchall()
        return {_place(place): Used(key, text, refusal) for place, key, text, refusal in rows}

    def last_outcomes(self) -> dict[str, tuple[str, str]]:
        """How the last try of each step ended, by key: outcome and message."""
        if not self.path.exists():
            return {}
        with self._open(write=False) as connection:
            rows = connection.execute("SELECT key, outcome, message FROM steps ORDER BY rowid").fetchall()
        return {key: (outcome, message) for key, outcome, message in rows}

    def runs(self, limit: int = 20) -> list[dict[str, Any]]:
        """The last runs, newest first."""
        if not self.path.exists():
            return []
        with self._open(write=False) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute("SELECT * FROM runs ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
        return [dict(row) for row in rows]


def _text(place: Place) -> str:
    return "/".join((place.stage, place.variant or "-", place.name))


def _place(text: str) -> Place:
    stage, variant, name = text.split("/", 2)
    return Place(stage, None if variant == "-" else variant, name)
