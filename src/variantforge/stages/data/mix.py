"""Datasets -> what one variant trains on: shares by weight, in an order that only seed and content decide.

With s the share of a source and n its size (in examples, or in tokens of the base's tokenizer), a mix of total T takes
s·T of each source, to the nearest row. The two stopping strategies of ``datasets.interleave_datasets`` choose T:

    first_exhausted   the largest T with s·T <= n for every source: no row is repeated
    all_exhausted     the smallest T with s·T >= n for every source: rows of the others are repeated, in turn

That function samples sources at random, so its shares come out roughly; here they are exact. Held out is the union of
what the sources hold out, whatever their weights, without doubles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from itertools import cycle
from math import ceil, log
from pathlib import Path
from typing import Any, NamedTuple

from variantforge.errors import DataError, Interrupted
from variantforge.fsops import writing
from variantforge.spec.family import DeduplicateSpec, MixSpec
from variantforge.stages.data.split import rank
from variantforge.stages.rows import HELDOUT, TRAIN, texts_of
from variantforge.step import StepContext

BASE = "base"
MAX_REPEATS = 100
_BEAT = 500
Row = Mapping[str, Any]


class Line(NamedTuple):
    """A row that stays on disk: its id, where its line starts, and its size (1, or its tokens)."""

    id: str
    offset: int
    size: int


class Pick(NamedTuple):
    """A row of the mix. ``turn``: 0 when it is taken for the first time, 1 for the second, ..."""

    source: str
    line: Line
    turn: int


def mix(context: StepContext) -> None:
    """Raises DataError when a source has no row left, or nothing is held out although something should be."""
    spec = MixSpec(**context.step.params["data"])
    unique = DeduplicateSpec(**context.step.params.get("deduplicate", {})).exact
    weights = {name: Fraction(str(weight)) for name, weight in sorted(spec.mix.items()) if weight > 0}
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    size = _token_counter(context) if spec.by == "tokens" else _one

    train, twins = _index(context, shares, TRAIN, size, unique)
    heldout, heldout_twins = _index(context, shares, HELDOUT, _one, True)
    _prove_enough(context, train, heldout)
    queues = {name: sorted(lines, key=lambda line: rank(f"pick {spec.seed}", line.id)) for name, lines in train.items()}
    picks = pick(queues, shares, all_seen=spec.stopping_strategy == "all_exhausted")
    held = [Pick(name, line, 0) for name, lines in heldout.items() for line in lines]
    _write(context, TRAIN, picks, spec.seed)
    _write(context, HELDOUT, held, spec.seed)
    sources = {name: _source_facts(name, picks, train, heldout) for name in shares}
    for name in (name for name, facts in sources.items() if not facts["train"]):
        context.note(f"{name}: its share is too small for a single row, so none of it is trained on")
    duplicates = twins + heldout_twins + sum(context.inputs[name].facts["dropped"]["duplicates"] for name in shares)
    counts = {"train": len(picks), "heldout": len(held), "duplicates": duplicates}
    context.write_facts({**counts, "by": spec.by, "sources": sources})


def pick(queues: Mapping[str, Sequence[Line]], shares: Mapping[str, Fraction], *, all_seen: bool) -> list[Pick]:
    """Takes of every queue, in its order, what comes nearest to its share of the total."""
    sizes = {name: sum(line.size for line in queue) for name, queue in queues.items()}
    totals = [sizes[name] / share for name, share in shares.items()]
    total = max(totals) if all_seen else min(totals)
    return [taken for name, share in shares.items() for taken in _take(name, queues[name], share * total)]


def _take(name: str, queue: Sequence[Line], target: Fraction) -> Iterator[Pick]:
    """Rows in turn while the next one brings their size nearer to ``target``."""
    whole = sum(line.size for line in queue)
    if target > MAX_REPEATS * whole:
        raise DataError(
            f"the rows of '{name}' would be repeated {int(target / whole):,} times",
            why=f"all_exhausted repeats a source until the largest was seen once; at most {MAX_REPEATS} times is sane.",
            next=f"lower the weight of {name} in the mix, or set stopping_strategy: first_exhausted",
        )
    taken = 0
    for number, line in enumerate(cycle(queue)):
        if taken + Fraction(line.size, 2) > target:
            return
        yield Pick(name, line, number // len(queue))
        taken += line.size


# --- sizes --------------------------------------------------------------------------------------------------------


def _one(row: Row) -> int:
    return 1


def _token_counter(context: StepContext) -> Callable[[Row], int]:
    """Tokens of a row's plain content by the base's tokenizer: what a chat template adds is the same for all."""
    from tokenizers import Tokenizer

    file = context.inputs[BASE].path / "model" / "tokenizer.json"
    if not file.is_file():
        raise DataError(
            "shares by tokens need the base's tokenizer, and it has no tokenizer.json",
            next="set by: examples, or take a base with a fast tokenizer",
        )
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()

    def count(row: Row) -> int:
        encodings = tokenizer.encode_batch(list(texts_of(row)), add_special_tokens=False)
        return max(1, sum(len(encoding.ids) for encoding in encodings))

    return count


# --- rows on disk --------------------------------------------------------------------------------------------------


def _index(
    context: StepContext, sources: Mapping[str, Any], file: str, size: Callable[[Row], int], unique: bool
) -> tuple[dict[str, list[Line]], int]:
    """The lines of a file of every source, and how many were left out because an earlier source has the same row."""
    seen: set[str] = set()
    index: dict[str, list[Line]] = {}
    twins = number = 0
    total = sum(context.inputs[name].facts[Path(file).stem] for name in sources)
    for name in sources:
        index[name] = []
        for offset, row in _offsets(context.inputs[name].path / file):
            _beat(context, number, total)
            number += 1
            if unique and row["id"] in seen:
                twins += 1
                continue
            seen.add(row["id"])
            index[name].append(Line(row["id"], offset, size(row)))
    return index, twins


def _beat(context: StepContext, number: int, total: int) -> None:
    """A sign of life now and then, and an ear for the wish to stop."""
    if number % _BEAT == 0:
        context.progress(number, total, "row")
        if context.stopping():
            raise Interrupted("stopped while rows were mixed", next="run the same command to go on")


def _offsets(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            yield offset, json.loads(line)
            offset += len(line)


def _write(context: StepContext, name: str, picks: Sequence[Pick], seed: int) -> None:
    """The picked lines, copied from where they lie, in the order of the shuffle named by ``seed``."""
    picks = sorted(picks, key=lambda pick: (rank(f"order {seed} {pick.turn}", pick.line.id), pick))
    with ExitStack() as stack:
        sources = {pick.source for pick in picks}
        files = {source: stack.enter_context(open(context.inputs[source].path / name, "rb")) for source in sources}
        target = stack.enter_context(writing(context.out / name))
        for number, (source, line, _) in enumerate(picks):
            _beat(context, number, len(picks))
            files[source].seek(line.offset)
            target.write(files[source].readline())


# --- checks and facts -------------------------------------------------------------------------------------------------


def _prove_enough(
    context: StepContext, train: Mapping[str, Sequence[Line]], heldout: Mapping[str, Sequence[Line]]
) -> None:
    for name, lines in train.items():
        if not lines:
            had = context.inputs[name].facts["train"]
            why = f"All of its {had} rows stand in another dataset of the mix too." if had else "All of it is held out."
            raise DataError(
                f"dataset '{name}' has no rows to train on",
                why=why,
                next=f"give {name} more rows, or take it out of the mix",
            )
    fraction = max(float(context.inputs[name].facts["fraction"]) for name in train)
    if fraction and not any(heldout.values()):
        rows = sum(len(lines) for lines in train.values())
        raise DataError(
            f"none of the {rows} rows is held out, so there is nothing to evaluate on",
            why=f"Each row is held out with a chance of {fraction:g}, by its hash. "
            f"{ceil(log(0.01) / log(1 - fraction))} rows are enough in 99 of 100 cases.",
            next=f"add rows, or set the evaluation's fraction to {1 - 0.01 ** (1 / rows):.2f} or more",
        )


def _source_facts(
    name: str, picks: Sequence[Pick], train: Mapping[str, Sequence[Line]], heldout: Mapping[str, Sequence[Line]]
) -> dict[str, Any]:
    """``share`` is the realised one, ``of`` the rows there were to take from, ``repeats`` how often one row stands."""
    own = [pick for pick in picks if pick.source == name]
    whole = sum(pick.line.size for pick in picks)
    return {
        "train": len(own),
        "heldout": len(heldout[name]),
        "share": round(sum(pick.line.size for pick in own) / whole, 6),
        "of": len(train[name]),
        "repeats": max((pick.turn + 1 for pick in own), default=0),
    }
