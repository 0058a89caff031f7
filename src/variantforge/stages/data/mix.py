"""Datasets -> what one variant trains on: so much of each, in an order that only seed and content decide.

With ``mix``, s the share of a source and n its size (in examples, or in tokens of the base's tokenizer), a mix of
total T takes s·T of each source, to the nearest row. ``datasets.interleave_datasets`` has two ways to choose T:

    first_exhausted   the largest T with s·T <= n for every source: no row is repeated
    all_exhausted     the smallest T with s·T >= n for every source: rows of the others are repeated, in turn

That function samples sources at random, so its shares come out roughly; here they are exact. With ``epochs``, e of a
source means e·n rows, to the nearest. Held out is the union of what the sources hold out, whatever their weights,
without doubles; no row of it, and nothing nearly like it where ``near`` is asked, is trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import cycle
from math import ceil, log
from typing import Any, NamedTuple

from variantforge.errors import Contaminated, DataError
from variantforge.fsops import writing
from variantforge.spec.family import DeduplicateSpec, MixSpec
from variantforge.stages.data.across import clean_across
from variantforge.stages.data.pool import BASE, Line, Lines, Pool, Row, Standing
from variantforge.stages.data.split import rank
from variantforge.stages.rows import HELDOUT, TRAIN, texts_of
from variantforge.step import StepContext

MAX_REPEATS = 100


class Pick(NamedTuple):
    """A row of the mix. ``turn``: 0 when it is taken for the first time, 1 for the second, ..."""

    source: str
    line: Line
    turn: int


def mix(context: StepContext) -> None:
    """Raises DataError when a source has no row left, or nothing is held out although something should be."""
    spec = MixSpec(**context.step.params["data"])
    same = DeduplicateSpec(**context.step.params.get("deduplicate", {}))
    amounts = {name: Fraction(str(amount)) for name, amount in sorted(spec.sources.items())}
    size = _token_counter(context) if spec.by == "tokens" else _one
    with Pool(context, list(amounts)) as pool:
        twins = pool.index(TRAIN, size, unique=same.exact) + pool.index(HELDOUT, _one, unique=True)
        found = clean_across(pool, context.step.params)
        train, heldout = pool.lines[TRAIN], pool.lines[HELDOUT]
        _prove_enough(pool)
        queues = {
            name: sorted(rows, key=lambda line: rank(f"pick {spec.seed}", line.id)) for name, rows in train.items()
        }
        picks = pick(queues, targets(_sizes(queues), amounts, spec))
        held = [Pick(name, line, 0) for name, lines in heldout.items() for line in lines]
        prove_apart(picks, held)
        _write(pool, TRAIN, picks, spec.seed)
        _write(pool, HELDOUT, held, spec.seed)
    sources = {name: _source_facts(name, picks, train, heldout) for name in amounts}
    _tell(context, sources)
    duplicates = twins + sum(context.inputs[name].facts["dropped"]["duplicates"] for name in amounts)
    counts = {"train": len(picks), "heldout": len(held), "duplicates": duplicates, **found}
    context.write_facts({**counts, "by": "epochs" if spec.epochs else spec.by, "sources": sources})


def targets(sizes: Mapping[str, int], amounts: Mapping[str, Fraction], spec: MixSpec) -> dict[str, Fraction]:
    """How much of each source is wanted. ``amounts``: weights, or epochs; ``sizes`` and result: rows, or tokens."""
    if spec.epochs:
        return {name: amount * sizes[name] for name, amount in amounts.items()}
    shares = {name: weight / sum(amounts.values()) for name, weight in amounts.items()}
    totals = [sizes[name] / share for name, share in shares.items()]
    total = max(totals) if spec.stopping_strategy == "all_exhausted" else min(totals)
    return {name: share * total for name, share in shares.items()}


def pick(queues: Mapping[str, Sequence[Line]], wanted: Mapping[str, Fraction]) -> list[Pick]:
    """Takes of every queue, in its order, what comes nearest to what is wanted of it."""
    return [taken for name, target in wanted.items() for taken in _take(name, queues[name], target)]


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


def _sizes(queues: Mapping[str, Sequence[Line]]) -> dict[str, int]:
    return {name: sum(line.size for line in queue) for name, queue in queues.items()}


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


# --- writing ------------------------------------------------------------------------------------------------------


def _write(pool: Pool, side: str, picks: Sequence[Pick], seed: int) -> None:
    """The picked lines, copied from where they lie, in the order of the shuffle named by ``seed``."""
    picks = sorted(picks, key=lambda pick: (rank(f"order {seed} {pick.turn}", pick.line.id), pick))
    with writing(pool.context.out / side) as target:
        for number, (source, line, _) in enumerate(picks):
            pool.beat(number, len(picks))
            target.write(pool.bytes_of(Standing(side, source, line)))


# --- checks and facts -------------------------------------------------------------------------------------------------


def prove_apart(picks: Sequence[Pick], held: Sequence[Pick]) -> None:
    """Raises Contaminated when a held-out row is trained on. Sides are told by a row's own hash, so none ever is."""
    both = {one.line.id for one in picks} & {one.line.id for one in held}
    if both:
        raise Contaminated(
            f"{len(both):,} held-out rows stand in the training data too, e.g. {min(both)}",
            why="What is measured on them would be a figure of what was learned by heart.",
            next="remove the data steps from the store and run the same command again",
        )


def _prove_enough(pool: Pool) -> None:
    context, train, heldout = pool.context, pool.lines[TRAIN], pool.lines[HELDOUT]
    for name, lines in train.items():
        if not lines:
            had = context.inputs[name].facts["train"]
            why = _where_they_went(pool, name, had) if had else "All of it is held out."
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


_WENT = {
    "equal": "stand in another dataset of the mix too",
    "near": "are near-duplicates of rows that stay",
    "contaminated": "hold items of a suite",
}


def _where_they_went(pool: Pool, name: str, had: int) -> str:
    left = Counter(one["why"] for one in pool.dropped if one["source"] == name and one["side"] == "train")
    if set(left) == {"equal"}:
        return f"All of its {had} rows {_WENT['equal']}."
    return (
        "Of its rows, " + ", ".join(f"{count:,} {_WENT.get(why, f'have {why}')}" for why, count in left.items()) + "."
    )


def _source_facts(name: str, picks: Sequence[Pick], train: Lines, heldout: Lines) -> dict[str, Any]:
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


def _tell(context: StepContext, sources: Mapping[str, Mapping[str, Any]]) -> None:
    for name, facts in sources.items():
        if not facts["train"]:
            context.note(f"{name}: its share is too small for a single row, so none of it is trained on")
        elif facts["train"] > facts["of"]:
            read, rows = facts["train"], facts["of"]
            context.note(f"{name}: oversampled, its {rows:,} rows are read {read / rows:.3g} times ({read:,} in all)")
