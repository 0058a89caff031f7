"""One dataset -> clean canonical rows: bad rows told or counted, equal rows dropped, each row on its side.

Secrets and broken Unicode are looked for in every row, and told by place (``hygiene.jsonl``); what is done with such
rows is the policy's affair.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from variantforge.errors import DataError, Interrupted
from variantforge.fsops import writing
from variantforge.stages.data import hygiene
from variantforge.stages.data.hygiene import Finding
from variantforge.stages.data.sources import BadRow, Record
from variantforge.stages.data.split import is_heldout, rank
from variantforge.stages.rows import HELDOUT, TRAIN, encode_row, make_row, read_rows, write_rows
from variantforge.step import StepContext

_SHOWN = 5  # bad rows told of by place
_BEAT = 500  # rows between two signs of life
_MOST = 10_000  # places kept of what rows should not hold
_LIMIT_SALT = "limit"
HYGIENE = "hygiene.jsonl"
_KEYS = {hygiene.SECRET: "on_secrets", hygiene.UNICODE: "on_broken_unicode"}  # kind of finding -> key of the policy
_NOUNS = {hygiene.SECRET: "what looks like secrets", hygiene.UNICODE: "broken Unicode"}


@dataclass(frozen=True)
class Rules:
    """What is done to the rows of the dataset ``name``. ``unclean``: key of the policy -> report, skip or error."""

    name: str
    fraction: float
    deduplicate: bool = True
    skip_bad: bool = False
    limit: int | None = None
    unclean: Mapping[str, str] = field(default_factory=dict)
    side_of: Callable[[str], bool] | None = None  # row id -> whether it is held out, where the id alone cannot tell

    def is_heldout(self, id: str) -> bool:
        return is_heldout(id, self.fraction) if self.side_of is None else self.side_of(id)

    def on(self, kind: str) -> str:
        return self.unclean.get(_KEYS[kind], "report")


@dataclass
class Tally:
    """What became of the rows. ``shown``: the first bad ones, with place and reason. ``kinds`` and
    ``sorts``: how many rows hold what they should not; ``found``: the first of them, with place."""

    rows: int = 0
    train: int = 0
    heldout: int = 0
    duplicates: int = 0
    over_limit: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)
    unclean: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    sorts: Counter[tuple[str, str]] = field(default_factory=Counter)
    found: list[dict[str, str]] = field(default_factory=list)

    def add_bad(self, place: str, row: BadRow) -> None:
        self.bad[row.reason] += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(f"{place}  {row.detail}")

    @property
    def facts(self) -> dict[str, Any]:
        dropped = {"duplicates": self.duplicates, "over_limit": self.over_limit}
        return {
            "rows": self.rows,
            "train": self.train,
            "heldout": self.heldout,
            "dropped": {**dropped, **({"unclean": self.unclean} if self.unclean else {})},
            "bad": dict(sorted(self.bad.items())),
            **({"hygiene": self.hygiene} if self.sorts else {}),
        }

    @property
    def hygiene(self) -> dict[str, dict[str, int]]:
        """How many rows hold what: kind -> sort -> rows."""
        counts: dict[str, dict[str, int]] = {}
        for (kind, what), rows in sorted(self.sorts.items()):
            counts.setdefault(kind, {})[what] = rows
        return counts

    def add_findings(self, place: str, id: str, findings: Sequence[Finding]) -> None:
        by_sort = {(finding.kind, finding.what): finding for finding in findings}
        self.sorts.update(by_sort.keys())
        self.kinds.update({finding.kind for finding in findings})
        if len(self.found) < _MOST:
            self.found += [{"place": place, "id": id, **finding._asdict()} for finding in by_sort.values()]


def sift(context: StepContext, records: Iterable[Record], rules: Rules) -> Tally:
    """Writes ``train.jsonl`` and ``heldout.jsonl``, in the order of the records.

    Raises DataError when there are bad rows (unless they are to be skipped), rows with what the policy refuses, or not
    one usable row.
    """
    tally, ids = Tally(), list[str]()
    train, heldout = context.out / TRAIN, context.out / HELDOUT
    with writing(train) as train_file, writing(heldout) as heldout_file:
        for row in _usable(_watched(context, records), tally, rules):
            ids.append(row["id"])
            if rules.is_heldout(row["id"]):
                heldout_file.write(encode_row(row))
                tally.heldout += 1
            else:
                train_file.write(encode_row(row))
                tally.train += 1
    _judge(context, tally, rules)
    _judge_findings(context, tally, rules)
    if rules.limit is not None and len(ids) > rules.limit:
        tally.over_limit = len(ids) - rules.limit
        tally.train, tally.heldout = _thin((train, heldout), ids, rules.limit)
    return tally


def _watched(context: StepContext, records: Iterable[Record]) -> Iterator[Record]:
    for number, record in enumerate(records):
        if number % _BEAT == 0:
            context.progress(record.done, 1, "", rows=number)
            if context.stopping():
                raise Interrupted("stopped while rows were read", next="run the same command to go on")
        yield record


def _usable(records: Iterable[Record], tally: Tally, rules: Rules) -> Iterator[dict[str, Any]]:
    """Canonical rows; what is bad or stands there already is counted."""
    seen: set[str] = set()
    for record in records:
        tally.rows += 1
        if isinstance(record.values, BadRow):
            tally.add_bad(record.place, record.values)
            continue
        row = make_row(rules.name, record.values)
        if rules.deduplicate:
            if row["id"] in seen:
                tally.duplicates += 1
                continue
            seen.add(row["id"])
        findings = list(hygiene.findings(row))
        tally.add_findings(record.place, row["id"], findings)
        if any(rules.on(finding.kind) == "skip" for finding in findings):
            tally.unclean += 1
            continue
        yield row


def _judge(context: StepContext, tally: Tally, rules: Rules) -> None:
    bad, name = tally.bad.total(), rules.name
    more = f"\n… and {bad - _SHOWN:,} more" if bad > _SHOWN else ""
    if not tally.rows:
        raise DataError(f"empty dataset: '{name}' holds no rows", next=f"put rows into it, or remove datasets.{name}")
    if bad and (bad == tally.rows or not rules.skip_bad):
        skip = "" if bad == tally.rows else ", or leave them out with data_policy: {on_bad_row: skip}"
        raise DataError(
            f"{bad:,} of {tally.rows:,} rows of dataset '{name}' cannot be used",
            why="\n".join(tally.shown) + more,
            next=f"correct the row{'s' * (bad > 1)}{skip}",
        )
    if bad:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in tally.bad.most_common())
        context.note(f"{name}: {bad:,} of {tally.rows:,} rows left out as bad ({reasons}); first: {tally.shown[0]}")
    if tally.duplicates:
        context.note(f"{name}: {tally.duplicates:,} of {tally.rows:,} rows dropped, equal to an earlier one")


def _judge_findings(context: StepContext, tally: Tally, rules: Rules) -> None:
    """Tells of secrets and broken Unicode, and writes where they stand."""
    for kind, sorts in tally.hygiene.items():
        places, rows = [one for one in tally.found if one["kind"] == kind], tally.kinds[kind]
        told = ", ".join(f"{what}: {count:,}" for what, count in sorts.items())
        first = "\n".join(f"{one['place']}  {one['what']}: {one['shown']}" for one in places[:_SHOWN])
        if rules.on(kind) == "error":
            raise DataError(
                f"{rows:,} of {tally.rows:,} rows of dataset '{rules.name}' hold {_NOUNS[kind]} ({told})",
                why=first + (f"\n… and {len(places) - _SHOWN:,} more places" if len(places) > _SHOWN else ""),
                next=f"correct the rows, or leave them out with data_policy: {{{_KEYS[kind]}: skip}}",
            )
        done = " and were left out" if rules.on(kind) == "skip" else ""
        context.note(f"{rules.name}: {rows:,} rows hold {_NOUNS[kind]}{done} ({told}); first: {first.splitlines()[0]}")
    if tally.found:
        with writing(context.out / HYGIENE) as file:
            file.writelines(encode_row(one) for one in tally.found)
    if tally.found and not tally.train + tally.heldout:
        raise DataError(
            f"every row of dataset '{rules.name}' was left out for what it holds",
            next=f"correct the rows of datasets.{rules.name}",
        )


def _thin(paths: Iterable[Path], ids: list[str], limit: int) -> Iterator[int]:
    """Keeps the ``limit`` rows that stand first in a shuffle of their own, so that both sides shrink alike.

    Yields how many each file then has.
    """
    kept = Counter(heapq.nsmallest(limit, ids, key=lambda id: (rank(_LIMIT_SALT, id), id)))
    for path in paths:
        yield write_rows(path, _taken(read_rows(path), kept))


def _taken(rows: Iterable[Mapping[str, Any]], kept: Counter[str]) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        if kept[row["id"]] > 0:
            kept[row["id"]] -= 1
            yield row
