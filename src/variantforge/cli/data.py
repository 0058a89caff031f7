"""``vf data``: rows as a model will read them, and what they are like, before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from variantforge.cli.opening import Opened, open_family
from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json, StoreFolder, typed_store
from variantforge.cli.output import Output
from variantforge.cli.progress import reporter_for
from variantforge.cli.rows import write_check, write_sample
from variantforge.cli.words import counted
from variantforge.errors import DataError, Interrupted, UsageError

if TYPE_CHECKING:
    from variantforge.stages.data.statistics import Statistics
    from variantforge.step import Artifact

SAMPLED = 2000  # rows that are looked at unless --all is given
_TELL_S = 3.0  # between two signs of life

app = typer.Typer(
    **STYLE,
    no_args_is_help=True,
    help="Look at the rows of a variant as its model will read them.",
    epilog=EXAMPLES_HEADING
    + """
  vf data preview code --show-mask    which tokens of some rows are learned from
  vf data check                       lengths, cuts, duplicates, findings: of all variants
""",
)
Variant = Annotated[str, typer.Argument(metavar="VARIANT", help="A variant of the family.")]
SomeVariant = Annotated[str | None, typer.Argument(metavar="VARIANT", help="Only this variant.", show_default=False)]


@app.command(
    context_settings=STYLE["context_settings"],
    epilog=EXAMPLES_HEADING
    + """
  vf data preview code
  vf data preview code --show-mask --rows 5
  vf data preview code --row 3f2c        the row whose id begins so
""",
)
def preview(
    ctx: typer.Context,
    variant: Variant,
    file: File = DEFAULT_FILE,
    show_mask: Annotated[bool, typer.Option("--show-mask", help="Mark the tokens that are learned from.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="How many rows.")] = 3,
    row: Annotated[
        str | None, typer.Option(metavar="ID", help="The row with this id, or the beginning of one.")
    ] = None,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Show rows as the base's chat template renders them.

    Does the variant's base and data steps where they are not done yet. Special tokens and white space are visible;
    with --show-mask what is learned from stands out: in colour on a terminal, else between ⟦ and ⟧.
    """
    from variantforge.stages.data.preview import sample

    out: Output = ctx.obj
    made = _made(open_family(file, store, out), [variant], out)[variant]
    samples = [
        sample(made.tokenizer, chosen, made.base.facts["stop_token_ids"], made.reach.window)
        for chosen in _chosen(made.data, rows, row)
    ]
    if as_json:
        out.json({"variant": variant, "max_length": made.reach.max_length, "rows": [asdict(one) for one in samples]})
    for one in samples:
        write_sample(out, one, mask=show_mask)


@app.command(
    context_settings=STYLE["context_settings"],
    epilog=EXAMPLES_HEADING
    + """
  vf data check
  vf data check other.yaml      all variants of another family file
  vf data check code --json
  vf data check code --all      every row, not a sample
""",
)
def check(
    ctx: typer.Context,
    variant: SomeVariant = None,
    file: File = DEFAULT_FILE,
    everything: Annotated[bool, typer.Option("--all", help=f"Every row, not the first {SAMPLED:,}.")] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Tell what the rows of variants are like: lengths, cuts, duplicates, and what should not be in them.

    Does the base and data steps where they are not done yet. Ends with exit code 1 when something is found that would
    stop a training.
    """
    out: Output = ctx.obj
    if variant and file == DEFAULT_FILE and Path(variant).suffix in (".yaml", ".yml"):
        file, variant = Path(variant), None
    opened = open_family(file, store, out)
    names = [variant] if variant else list(opened.plan.family.variants)
    checked = {
        name: _check(opened, name, made, None if everything else SAMPLED, out)
        for name, made in _made(opened, names, out).items()
    }
    if as_json:
        out.json({"ok": not any(one.stops for one in checked.values()), "variants": _documents(checked)})
    for name, one in checked.items():
        write_check(out, name, one.facts, one.statistics)
    stops = [f"{name}: {stop}" for name, one in checked.items() for stop in one.stops]
    if stops:
        first = next(name for name, one in checked.items() if one.stops)
        words = [first, *([] if file == DEFAULT_FILE else [file]), "--show-mask", *typed_store(out)]
        look = out.command("data", "preview", *words)
        raise DataError(f"{counted(len(stops), 'thing')} would stop a training", why="\n".join(stops), next=look)


# --- what is looked at ------------------------------------------------------------------------------------------------


class Made(NamedTuple):
    """What of a variant is needed to look at its rows. ``reach``: which part of a row its training reads."""

    base: Artifact
    data: Artifact
    tokenizer: Any
    reach: Any


def _made(opened: Opened, names: Sequence[str], out: Output) -> dict[str, Made]:
    """Does the base and data steps of variants, or finds them done. Raises what a step raised."""
    from variantforge.run.runner import run_plan
    from variantforge.stages import Place
    from variantforge.stages.models import quiet
    from variantforge.stages.tokens import load_tokenizer
    from variantforge.stages.train.window import reach_of

    plan, store = opened.plan, opened.store
    selected = plan.select(until="data", only=names)
    with reporter_for(out) as reporter:
        report = run_plan(plan, store, selected=selected, reporter=reporter)
    if error := report.error:
        if isinstance(error, Interrupted) or not error.next:
            error.next = out.same_command
        raise error
    found: dict[str, Made] = {}
    for name in names:
        base, data = (
            store.find(plan.steps[plan.places[place]]) for place in (Place("base", name), Place("data", name, "mix"))
        )
        assert base is not None  # just made
        assert data is not None
        with quiet():
            tokenizer = load_tokenizer(base.path / "model")
        found[name] = Made(base, data, tokenizer, reach_of(_variant(opened, name).train))
    return found


def _variant(opened: Opened, name: str) -> Any:
    return opened.plan.family.variants[name]


def _chosen(data: Artifact, count: int, id: str | None) -> list[Mapping[str, Any]]:
    from variantforge.stages.data.preview import choose
    from variantforge.stages.rows import HELDOUT, TRAIN, read_rows

    if id is None:
        return list(choose(read_rows(data.path / TRAIN), count))
    rows = (row for side in (TRAIN, HELDOUT) for row in read_rows(data.path / side) if row["id"].startswith(id))
    if (found := next(rows, None)) is None:
        raise UsageError(
            f"no row whose id begins with '{id}'",
            why="Ids are 16 hex digits; train.jsonl and heldout.jsonl of the mix have them, and every message that "
            "names a row.",
            next="leave --row out to see the first rows",
        )
    return [found]


class Checked(NamedTuple):
    """``facts``: of the mix; ``stops``: what would stop a training, a sentence each."""

    facts: Mapping[str, Any]
    statistics: Statistics
    stops: list[str]


def _check(opened: Opened, name: str, made: Made, limit: int | None, out: Output) -> Checked:
    from variantforge.stages.data import statistics
    from variantforge.stages.data.hygiene import ControlTokens, control_tokens

    policy = opened.file.spec.data_policy
    found = statistics.measure(
        made.data.path,
        made.tokenizer,
        made.base.facts["stop_token_ids"],
        max_length=made.reach.max_length,
        window=made.reach.window,
        control=ControlTokens(control_tokens(made.base.path / "model", made.base.facts)),
        limit=limit,
        near=policy.deduplicate.near or statistics.NEAR,
        progress=_signs_of_life(out, name),
    )
    return Checked(made.data.facts, found, list(_stops(found, _variant(opened, name), policy.on_special_tokens)))


def _signs_of_life(out: Output, name: str) -> Callable[[int, int], None]:
    told = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_S:
            told = time.monotonic()
            out.note((f"{name}:", "dim"), f"{done:,} of {total:,} rows read")

    return progress


def _stops(found: Statistics, variant: Any, on_special_tokens: str) -> list[str]:
    from variantforge.stages.train import METHODS

    method, places = variant.train.method, found.places
    known = METHODS.load(method).rows
    stops = [
        f"{counted(rows, 'row')} of the kind {kind}, and {method} learns from {' or '.join(known)}"
        for kind, rows in found.kinds.items()
        if kind not in known
    ]
    stops += [f"{reason} in {counted(rows, 'row')}, e.g. {places[reason][0]}" for reason, rows in found.refused.items()]
    if on_special_tokens == "error":
        tokens = found.control_tokens.items()
        stops += [f"{token} in the text of {counted(rows, 'row')}, e.g. {places[token][0]}" for token, rows in tokens]
    if found.read and found.lost >= found.read:
        stops.append(f"no answer begins within max_length {found.max_length}")
    return stops


def _documents(checked: Mapping[str, Checked]) -> dict[str, Any]:
    return {
        name: {"mix": one.facts, "statistics": one.statistics.document, "stops": one.stops}
        for name, one in checked.items()
    }
