"""``vf compare``: two subjects beside each other, in pairs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variantforge.cli.opening import open_family
from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json, StoreFolder, again
from variantforge.cli.output import Cell, Output
from variantforge.cli.words import counted, figure

if TYPE_CHECKING:
    from variantforge.report.comparison import Compared, Comparison, Pair, Subject
    from variantforge.report.document import Estimate
    from variantforge.report.shelf import Shelf

GAP = "  │  "
WIDTH = 100  # where no terminal says how wide it is

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf compare code/merged base              the merged weights of code beside its base
  vf compare code/Q4_K_M code              a format beside the weights it was made from
  vf compare code docs --items 10          two variants, with more answers
  vf compare code base --prompt "Hello?"   asks both, now
  vf compare code base --prompts ask.jsonl --json
"""  # fmt: skip

_WHICH = "VARIANT, VARIANT/FORMAT, VARIANT/merged, VARIANT/base, or base."


@app.command(epilog=_EXAMPLES)
def compare(
    ctx: typer.Context,
    first: Annotated[str, typer.Argument(metavar="FIRST", help=_WHICH)],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="The other, named like the first.")],
    file: File = DEFAULT_FILE,
    items: Annotated[int, typer.Option(min=0, help="How many answers are shown; those that differ come first.")] = 3,
    prompt: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Ask both this, now; repeatable.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ask both these, now: JSONL with prompt or messages.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Where an answer to them is cut off.")] = 256,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Compare two subjects on the same items: statistics of each metric in pairs, and answers side by side.

    A gain is positive where the first is better, whichever way the metric counts, with one-sided 95 % bounds. Only
    what is in the store is read, unless --prompt or --prompts asks for new answers.
    """
    from variantforge.report.asking import questions
    from variantforge.report.comparison import compare as compared
    from variantforge.report.comparison import subjects_of
    from variantforge.report.shelf import Shelf

    out: Output = ctx.obj
    asking = questions(prompt or [], prompts)
    opened = open_family(file, store, out)
    shelf = Shelf(opened.plan, opened.store)
    ours, theirs = subjects_of(shelf, [first, second])
    found = compared(shelf, ours, theirs)
    new = _ask(shelf, ours, theirs, asking, max_new_tokens, out) if asking else []
    if as_json:
        out.json({**asdict(found), "first": str(ours), "second": str(theirs), "asked": [asdict(one) for one in new]})
        return
    write(out, found, new or found.answers[:items], of=len(new or found.answers))
    if found.missing:
        out.line(("next:", "cyan"), again(out, "apply", file))


def _ask(
    shelf: Shelf, first: Subject, second: Subject, items: Sequence[Any], max_new_tokens: int, out: Output
) -> list[Pair]:
    from variantforge.report.asking import asked

    out.note(f"{first} and {second} are asked {counted(len(items), 'question')}; weights are loaded first")

    def tell(event: dict[str, Any]) -> None:
        if event["kind"] == "note":
            out.note(event["text"])

    return asked(shelf, first, second, items, max_new_tokens=max_new_tokens, tell=tell)


def write(out: Output, found: Comparison, answers: Sequence[Pair], *, of: int) -> None:
    """The comparison for people."""
    out.line((str(found.first), "bold"), "beside", (str(found.second), "bold"))
    if found.metrics:
        heads = ("metric", str(found.first), str(found.second), "gain", "95 % bounds", "", "")
        rows = [tuple[Cell, ...]((head, "dim") for head in heads), *map(_row, found.metrics)]
        out.table(rows, right=(1, 2, 3))
    else:
        out.line("  no metric was measured of both")
    for missing in found.missing:
        out.line(("  missing:", "missing"), missing)
    if answers:
        out.line(f"{counted(len(answers), 'item')} of {of}")
    for pair in answers:
        _write_pair(out, found, pair)


def _row(one: Compared) -> tuple[Cell, ...]:
    told = one.metric, *("–" if it is None else figure(it.value) for it in (one.first, one.second))
    if one.gain is None:
        return *told, "", "", "", (one.why if one.first and one.second else "", "dim")
    sign = "+" if one.gain.value >= 0 else "-"
    return *told, f"{sign}{figure(abs(one.gain.value))}", _bounds(one.gain), f"n={one.gain.n}", _word(one.gain)


def _word(gain: Estimate) -> Cell:
    if gain.low is not None and gain.low > 0:
        return "better", "green"
    return ("worse", "red") if gain.high is not None and gain.high < 0 else ("not told apart", "yellow")


def _bounds(gain: Estimate) -> str:
    if gain.low is None or gain.high is None:
        return "no interval"
    return f"[{figure(gain.low + 0.0)}, {figure(gain.high + 0.0)}]"  # of zero the sign goes


def _write_pair(out: Output, found: Comparison, pair: Pair) -> None:
    out.line()
    out.line((f"{pair.evaluation}  {pair.id}", "bold"))
    width = ((out.width or WIDTH) - len(GAP) - 2) // 2
    for text in _wrapped(pair.prompt, 2 * width + len(GAP)):
        out.line((f"  {text}", "dim"))
    out.line((f"  {found.first!s:{width}}{GAP}{found.second}", "cyan"))
    for left, right in beside(pair.first, pair.second, width):
        out.line(f"  {left:{width}}{GAP}{right}".rstrip())


def beside(left: str, right: str, width: int) -> Iterator[tuple[str, str]]:
    """Lines of two texts, each wrapped at ``width``, the shorter filled up."""
    ours, theirs = _wrapped(left, width), _wrapped(right, width)
    yield from zip_longest(ours, theirs, fillvalue="")


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width``; what a terminal would obey is left to the output, which drops it."""
    return [
        part
        for line in text.expandtabs(4).splitlines()
        for part in textwrap.wrap(line, max(8, width), drop_whitespace=False, replace_whitespace=False) or [""]
    ]
