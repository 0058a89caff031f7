"""Rows that hold what the family will be measured on: found in words and in code, item by item.

A row *hits* an item of a suite when it holds a run of ``ngram`` words of one of the item's texts (as ``words`` splits
them; GPT-3 and most reports since use 13), or a function that is one of the item's but for names, comments, docstring
and annotations. A text shorter than that is looked for as a whole if it has ``LEAST_WORDS``. Runs that more than
``COMMON`` items of a suite share (instructions, harnesses) tell no item and are left out. Paraphrases are not found:
keep a private suite too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from variantforge.errors import DataError
from variantforge.stages.data.code_forms import forms_in
from variantforge.stages.data.sources import BadRow, open_table
from variantforge.stages.data.words import grams, words
from variantforge.stages.evaluate.suites import ITEM_NAMES, SuiteText, item_name
from variantforge.stages.rows import HELDOUT, TRAIN, read_rows, texts_of

LEAST_WORDS = 8  # of a text that is looked for
COMMON = 3  # items of a suite that may share a run of words before it tells none of them
_SHOWN_ROWS = 20  # ids of rows in the report of one item
Row = Mapping[str, Any]


class Item(NamedTuple):
    suite: str
    item: str


class Hit(NamedTuple):
    """``share``: how much of the item's runs of words the row holds; 1.0 for code that is the item's."""

    item: Item
    share: float
    how: str  # words | code


class Suites:
    """All suites at once. ``items``: suite -> how many items it has; ``unseen``: how many of them are too short or too
    common to be looked for."""

    def __init__(self, suites: Mapping[str, Iterable[SuiteText]], *, ngram: int, code: bool) -> None:
        self._code = code
        self._forms: dict[str, set[Item]] = defaultdict(set)
        self._runs: dict[int, dict[Hashable, set[Item]]] = defaultdict(
            lambda: defaultdict(set)
        )  # words -> run -> items
        self._sizes: Counter[Item] = Counter()
        self.items: dict[str, int] = {}
        self.unseen: dict[str, int] = {}
        for name, texts in suites.items():
            self._add(name, texts, ngram)

    def hits(self, row: Row) -> list[Hit]:
        """The items that a row hits, once each, code before words."""
        text = "\n".join(texts_of(row))
        found: dict[Item, Hit] = {}
        shared: Counter[Item] = Counter()
        said = words(text)
        for length, runs in self._runs.items():
            for run in grams(said, length) if len(said) >= length else ():
                shared.update(runs.get(run, ()))
        for item, count in shared.items():
            found[item] = Hit(item, round(count / self._sizes[item], 4), "words")
        for form in forms_in(text) if self._forms else ():
            for item in self._forms.get(form, ()):
                found[item] = Hit(item, 1.0, "code")
        return [found[item] for item in sorted(found)]

    def _add(self, suite: str, texts: Iterable[SuiteText], ngram: int) -> None:
        runs: dict[tuple[int, Hashable], set[Item]] = defaultdict(set)
        forms: dict[str, set[Item]] = defaultdict(set)
        items: dict[Item, None] = {}
        for called, text, is_code in texts:
            item = Item(suite, called)
            items[item] = None
            said = words(text)
            length = min(ngram, len(said))
            for run in grams(said, length) if length >= LEAST_WORDS else ():
                runs[length, run].add(item)
            for form in forms_in(text) if is_code and self._code else ():
                forms[form].add(item)
        seen: set[Item] = set()
        for (length, run), holders in runs.items():
            if len(holders) <= COMMON:
                self._runs[length][run] |= holders
                self._sizes.update(holders)
                seen |= holders
        for form, holders in forms.items():
            self._forms[form] |= holders
            seen |= holders
        self.items[suite], self.unseen[suite] = len(items), len(items) - len(seen)


class Report:
    """What was hit by which rows. ``rows``: suite -> rows that hit some item of it."""

    def __init__(self, suites: Suites) -> None:
        self._suites = suites
        self._hits: dict[Item, list[tuple[str, Hit]]] = defaultdict(list)
        self.rows: Counter[str] = Counter()

    def add(self, row: Row, hits: Sequence[Hit]) -> None:
        self.rows.update({hit.item.suite for hit in hits})
        for hit in hits:
            self._hits[hit.item].append((row["id"], hit))

    @property
    def facts(self) -> dict[str, dict[str, Any]]:
        """suite -> items, how many are not looked for, how many are hit, their share, rows that hit."""
        hit = Counter(item.suite for item in self._hits)
        return {
            suite: {
                "items": items,
                "not_looked_for": self._suites.unseen[suite],
                "hit": hit[suite],
                "share": round(hit[suite] / items, 6) if items else 0.0,
                "rows": self.rows[suite],
            }
            for suite, items in self._suites.items.items()
        }

    @property
    def document(self) -> dict[str, Any]:
        """With every item that was hit: by how many rows, the first of them, and the largest overlap."""
        items = [
            {
                **item._asdict(),
                "rows": len(hits),
                "ids": [id for id, _ in hits[:_SHOWN_ROWS]],
                "share": max(hit.share for _, hit in hits),
                "how": sorted({hit.how for _, hit in hits}),
            }
            for item, hits in sorted(self._hits.items())
        ]
        return {"suites": self.facts, "items": items}

    def lines(self, most: int = 5) -> Iterator[str]:
        """The items with the largest overlap, a sentence each."""
        worst = sorted(self.document["items"], key=lambda one: (-one["share"], -one["rows"], one["suite"], one["item"]))
        for one in worst[:most]:
            how = " and ".join(one["how"])
            much = f"{one['rows']:,} rows, overlap {one['share']:.0%} ({how})"
            yield f"{one['suite']} {one['item']}: {much}, e.g. {one['ids'][0]}"
        if len(worst) > most:
            yield f"… and {len(worst) - most:,} more items"


# --- texts of suites --------------------------------------------------------------------------------------------------


def texts_of_rows(folder: Path) -> Iterator[SuiteText]:
    """A dataset of the family as a suite: its rows are the items."""
    for side in (TRAIN, HELDOUT):
        for row in read_rows(folder / side):
            for text in texts_of(row):
                yield SuiteText(row["id"], text, True)


def texts_of_file(path: Path, name: str) -> Iterator[SuiteText]:
    """A file of items, one a record, in whatever fields: every text in it is looked for.

    HumanEval's form (``prompt`` and ``canonical_solution``) is read as the function that both make together.
    Raises DataError for a record that is none.
    """
    for number, record in enumerate(open_table(path, name).records, 1):
        values = record.values
        if isinstance(values, BadRow):
            raise DataError(
                f"{record.place}  {values.detail}", next=f"correct {name}, which decontaminate.against names"
            )
        yield from texts_of_record(item_name(values, number), values)


def texts_of_record(item: str, values: Mapping[str, Any]) -> Iterator[SuiteText]:
    """Every text of a record but its names."""
    if isinstance(solution := values.get("canonical_solution"), str):
        yield SuiteText(item, f"{values.get('prompt') or ''}{solution}", True)
    for text in _strings({field: value for field, value in values.items() if field not in ITEM_NAMES}):
        yield SuiteText(item, text, True)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
