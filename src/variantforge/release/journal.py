"""What this machine did of each release, and when (SQLite). The Hub is the truth: without this file nothing is lost
but the memory of times; with it, the hour's commits are counted right and a mixed window is measured across a kill.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from variantforge.errors import IntegrityError, VariantforgeError
from variantforge.fsops import make_folder
from variantforge.release.record import Record

FILE = "releases.sqlite"
Phase = Literal["stage", "verify", "commit", "expose", "tidy", "done", "lost"]
Kind = Literal["stage", "record", "expose"]

_TABLES = """
CREATE TABLE IF NOT EXISTS releases (
  id TEXT PRIMARY KEY, family TEXT NOT NULL, version TEXT NOT NULL, channel TEXT NOT NULL, index_repo TEXT NOT NULL,
  phase TEXT NOT NULL, started REAL NOT NULL, changed REAL NOT NULL, window_s REAL);
CREATE TABLE IF NOT EXISTS commits (
  release TEXT NOT NULL, repo TEXT NOT NULL, kind TEXT NOT NULL, oid TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (repo, oid, kind));
CREATE TABLE IF NOT EXISTS adopted (
  index_repo TEXT NOT NULL, repo TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (index_repo, repo));
CREATE TABLE IF NOT EXISTS verified (repo TEXT NOT NULL, oid TEXT NOT NULL, PRIMARY KEY (repo, oid));
"""


@dataclass(frozen=True)
class Releases:
    """The journal at ``path`` (``<store>/releases.sqlite``); it need not exist: reading then finds nothing."""

    path: Path

    @contextmanager
    def _open(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        if write:
            make_folder(self.path.parent)
        uri = f"{self.path.resolve().as_uri()}?mode={'rwc' if write else 'ro'}"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                if write:
                    connection.executescript(_TABLES)
                yield connection
        except sqlite3.OperationalError as error:
            next = f"df -h {self.path.parent}; ls -ld {self.path.parent}"
            raise VariantforgeError(f"cannot use {self.path}: {error}", next=next) from error
        except sqlite3.DatabaseError as error:
            why = "It only remembers what was done when; releases stand on the Hub."
            raise IntegrityError(f"{self.path} is damaged: {error}", why=why, next=f"rm {self.path}") from error

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """What is looked up; nothing is written, so that a store on a read-only disk can be planned against."""
        if not self.path.exists():
            return []
        with self._open(write=False) as connection:
            return connection.execute(query, values).fetchall()

    def enter(self, record: Record, phase: Phase) -> None:
        """The release has come to a phase."""
        now = time.time()
        row = (record.id, record.family, record.version, record.channel, record.index.repo, phase, now, now)
        with self._open() as connection:
            connection.execute(
                "INSERT INTO releases (id, family, version, channel, index_repo, phase, started, changed) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET phase = excluded.phase, "
                "changed = CASE WHEN phase = excluded.phase THEN changed ELSE excluded.changed END",
                row,
            )

    def committed(self, record: Record, repo: str, kind: Kind, oid: str) -> None:
        with self._open() as connection:
            row = (record.id, repo, kind, oid, time.time())
            connection.execute("INSERT OR IGNORE INTO commits VALUES (?, ?, ?, ?, ?)", row)

    def commit_times(self, since: float) -> list[float]:
        """When commits were made after a time (Unix seconds): what the Hub counts against the hour."""
        return [float(row["at"]) for row in self._rows("SELECT at FROM commits WHERE at > ? ORDER BY at", since)]

    def exposing_since(self, record: Record) -> float | None:
        """When the first branch was moved by a run that was interrupted while it moved branches of this release."""
        rows = self._rows(
            "SELECT at FROM commits JOIN releases ON release = id "
            "WHERE id = ? AND phase = 'expose' AND kind = 'expose' AND at >= changed ORDER BY at LIMIT 1",
            record.id,
        )
        return float(rows[0]["at"]) if rows else None

    def window(self, record: Record, seconds: float) -> None:
        """How long the branches of this release disagreed."""
        with self._open() as connection:
            connection.execute("UPDATE releases SET window_s = ? WHERE id = ?", (seconds, record.id))

    def verified(self, repo: str, oid: str) -> None:
        with self._open() as connection:
            connection.execute("INSERT OR IGNORE INTO verified VALUES (?, ?)", (repo, oid))

    def was_verified(self, repo: str, oid: str) -> bool:
        return bool(self._rows("SELECT 1 FROM verified WHERE repo = ? AND oid = ?", repo, oid))

    def adopt(self, index_repo: str, repo: str) -> None:
        """The next releases of that index may take over a repo which they have not made."""
        with self._open() as connection:
            connection.execute("INSERT OR IGNORE INTO adopted VALUES (?, ?, ?)", (index_repo, repo, time.time()))

    def adopted(self, index_repo: str) -> frozenset[str]:
        rows = self._rows("SELECT repo FROM adopted WHERE index_repo = ?", index_repo)
        return frozenset(str(row["repo"]) for row in rows)

    def history(self, family: str) -> list[dict[str, Any]]:
        """The releases of a family that this machine had a hand in, newest first."""
        rows = self._rows("SELECT * FROM releases WHERE family = ? ORDER BY started DESC", family)
        return [dict(row) for row in rows]
