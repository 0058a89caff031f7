"""``vf show``: what there is of a family, how good it is, and where it lies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variantforge.cli.gates import gates_told
from variantforge.cli.opening import family_file, published_at, store_of
from variantforge.cli.options import DEFAULT_FILE, EXAMPLES_HEADING, STYLE, File, Json, StoreFolder, again, shown
from variantforge.cli.output import Cell, Output
from variantforge.cli.words import duration, figure, size
from variantforge.errors import UsageError

if TYPE_CHECKING:
    from variantforge.spec.load import FamilyFile
    from variantforge.store.artifacts import Store
    from variantforge.store.overview import Entry, Overview

app = typer.Typer(**STYLE)
_EXAMPLES = EXAMPLES_HEADING + """
  vf show                      the whole family
  vf show code                 one variant of it
  vf show qwen.yaml code       one variant of another file
  vf show --json | jq '.variants[].metrics'
"""  # fmt: skip


@app.command(epilog=_EXAMPLES)
def show(
    ctx: typer.Context,
    file: File = DEFAULT_FILE,
    variant: Annotated[str | None, typer.Argument(metavar="VARIANT", help="Only this variant.")] = None,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Show what the last apply left: artifacts, measurements, verdicts, publications, runs.

    Every measurement stands with its 95 % interval, for the base, the merged model and each format.
    """
    from variantforge.spec.load import load_family
    from variantforge.store.overview import overview

    out: Output = ctx.obj
    if variant is None and not file.exists() and file.name == str(file) and not file.suffix:
        file, variant = DEFAULT_FILE, file.name  # vf show code
    path = family_file(file, out)
    family, shelf = load_family(path), store_of(path, store)
    names = list(family.spec.variants)
    if variant is not None and variant not in names:
        from variantforge.registry import near

        hint = near(variant, names) or f" There are: {', '.join(names)}."
        raise UsageError(f"no variant '{variant}' in {path}.{hint}", next=again(out, "show", file))
    found = overview(shelf, family.spec.family)
    document = {**_document(family, found, [variant] if variant else names), "releases": _releases(family, shelf)}
    if as_json:
        out.json({**document, "store": str(shelf.root)})
    write(out, document)
    if not found.entries:
        out.line(("next:", "cyan"), again(out, "apply", file))


def write(out: Output, document: Mapping[str, Any]) -> None:
    """Everything, for people. Takes the document that programs get: both tell the same."""
    out.line((document["family"], "bold"), document["version"])
    for name, variant in document["variants"].items():
        out.line((name, "bold"), *([] if variant["artifacts"] else [("nothing yet", "dim")]))
        _table(out, "artifacts", [_artifact_row(artifact) for artifact in variant["artifacts"]], right=(1,))
        _table(out, "trained", [(line,) for line in variant["trained"]])
        _table(out, "measured", list(_metric_rows(variant["metrics"])), right=(2,))
        _table(out, "verdicts", [_verdict_row(verdict) for verdict in variant["verdicts"]])
        _table(out, "published", [_published_row(one) for one in variant["published"]])
    _table(out, "data", [_dataset_row(one) for one in document["datasets"]], indent=2, right=(1,))
    if document["published"] or document["gates"]:
        out.line(("family", "bold"))
        _table(out, "gates", [(line,) for line in (gates_told(document["gates"]) if document["gates"] else ())])
        _table(out, "published", [_published_row(one) for one in document["published"]])
    _table(out, "runs", [_run_row(run) for run in document["runs"]], indent=2)
    _table(out, "releases", [_release_row(release) for release in document["releases"]], indent=2)


def _releases(family: FamilyFile, store: Store) -> list[dict[str, Any]]:
    """What this machine released to the Hub, newest first."""
    if family.spec.publish.to != "hub":
        return []
    from variantforge.cli.hub import releases_of

    journal = releases_of(store)
    return journal.history(family.spec.family)[:5] if journal.path.exists() else []


def _table(
    out: Output, title: str, rows: list[tuple[Cell, ...]], *, indent: int = 4, right: tuple[int, ...] = ()
) -> None:
    if rows:
        out.line(f"{' ' * (indent - 2)}{title}")
        out.table(rows, indent=indent, right=right)


def _artifact_row(artifact: Mapping[str, Any]) -> tuple[Cell, ...]:
    if artifact["size_bytes"] is None:
        return artifact["name"], ("gone", "gone"), (shown(Path(artifact["path"])), "dim")
    return artifact["name"], size(artifact["size_bytes"]), (shown(Path(artifact["path"])), "dim")


def _dataset_row(dataset: Mapping[str, Any]) -> tuple[Cell, ...]:
    left = f"; not read: {', '.join(dataset['ignored_columns'])}" if dataset["ignored_columns"] else ""
    why = f" ({dataset['format_why']})" if dataset["format_why"] else ""
    return dataset["name"], f"{dataset['rows']:,} rows", f"{dataset['format']}{why}{left}"


def _metric_rows(metrics: list[dict[str, Any]]) -> Iterator[tuple[Cell, ...]]:
    last = ""
    for one in metrics:
        title, last = (one["metric"] if one["metric"] != last else ""), one["metric"]
        yield title, one["subject"], figure(one["value"]), _interval(one)


def _release_row(release: Mapping[str, Any]) -> tuple[Cell, ...]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release["changed"]))
    window = release["window_s"]
    told = f"branches disagreed for {duration(window)}" if window else ""
    ended = {"done": "released", "lost": "another release was first"}.get(release["phase"], "unfinished")
    return (
        when,
        f"{release['version']} ({release['channel']})",
        (ended, "ok" if ended == "released" else "yellow"),
        told,
    )


def _interval(one: Mapping[str, Any]) -> str:
    if one.get("low") is None or one.get("high") is None:
        return ""
    return f"[{figure(one['low'])}, {figure(one['high'])}]  n={one['n']}"


def _verdict_row(verdict: Mapping[str, Any]) -> tuple[Cell, ...]:
    word = verdict["verdict"]
    return verdict["subject"], (word, word), verdict["why"]


def _published_row(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    withheld = f"  (withheld: {', '.join(one['withheld'])})" if one["withheld"] else ""
    return one["form"], f"{one['at']}{withheld}"


def _run_row(run: Mapping[str, Any]) -> tuple[Cell, ...]:
    outcome = run["outcome"] or "killed, or still at work"
    took = duration(run["seconds"]) if run["seconds"] is not None else ""
    return run["started"], (outcome, "done" if outcome == "done" else "yellow"), took


def _document(family: FamilyFile, found: Overview, variants: list[str]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "family": family.spec.family,
        "version": family.spec.version,
        "file": str(family.path),
        "variants": {name: _variant(family, found, name) for name in variants},
        "datasets": [_dataset(entry) for entry in found.of(None, "data") if "format" in entry.facts],
        "gates": next((entry.facts for entry in found.of(None, "gate") if entry.exists), None),
        "published": [_published(family, entry) for entry in found.of(None, "publish") if entry.exists],
        "runs": [_run(run) for run in found.runs],
    }


def _variant(family: FamilyFile, found: Overview, name: str) -> dict[str, Any]:
    return {
        "artifacts": [_artifact(entry) for entry in found.of(name)],
        "trained": [line for entry in found.of(name, "train") if (line := _trained(entry))],
        "metrics": sorted(
            (row for entry in found.of(name, "evaluate") for row in _metrics(entry)), key=lambda row: row["metric"]
        ),
        "verdicts": [row for entry in found.of(name, "gate") for row in _verdicts(entry)],
        "published": [_published(family, entry) for entry in found.of(name, "publish") if entry.exists],
    }


def _artifact(entry: Entry) -> dict[str, Any]:
    return {
        "name": " ".join(part for part in (entry.place.stage, entry.place.name) if part),
        "key": entry.key,
        "path": str(entry.path),
        "size_bytes": entry.size_bytes if entry.exists else None,
    }


def _trained(entry: Entry) -> str:
    """What an adapter stands on; '' where all weights were trained."""
    from variantforge.stages.train.adapters.report import matched_line

    return matched_line(entry.facts) if entry.facts.get("matched_kinds") else ""


def _dataset(entry: Entry) -> dict[str, Any]:
    told = ("rows", "train", "heldout", "bad", "dropped", "format")
    facts = {"format_why": "", "ignored_columns": [], **entry.facts}  # those two of files alone
    return {"name": entry.place.name, **{fact: facts[fact] for fact in (*told, "format_why", "ignored_columns")}}


def _metrics(entry: Entry) -> Iterator[dict[str, Any]]:
    evaluation, _, subject = entry.place.name.partition(":")
    for metric, measured in entry.facts.get("metrics", {}).items():
        yield {"metric": f"{evaluation}.{metric}", "subject": subject, **measured}


def _verdicts(entry: Entry) -> Iterator[dict[str, Any]]:
    for verdict in entry.facts.get("verdicts", []):
        yield {"subject": entry.place.name, **verdict}


def _published(family: FamilyFile, entry: Entry) -> dict[str, Any]:
    facts = entry.facts
    return {"form": entry.place.name, "at": published_at(family, facts), "withheld": facts["withheld"]}


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    ended = run["ended"]
    return {
        "id": run["id"],
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run["started"])),
        "seconds": None if ended is None else round(ended - run["started"], 3),
        "outcome": run["outcome"],
    }
