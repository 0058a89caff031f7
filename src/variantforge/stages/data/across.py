"""Rows that leave a variant's data for what stands in other datasets, on the held-out side, or in a suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from variantforge.errors import Contaminated, DataError
from variantforge.fsops import write_json
from variantforge.hashing import file_digest
from variantforge.spec.family import DecontaminateSpec
from variantforge.stages.data import near_duplicates
from variantforge.stages.data.decontaminate import Report, Suites, texts_of_file, texts_of_rows
from variantforge.stages.data.hub_suites import texts_of_task
from variantforge.stages.data.hygiene import ControlTokens, control_tokens
from variantforge.stages.data.pool import AGAINST, BASE, Pool, Standing
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.evaluate.suites import SuiteText
from variantforge.stages.rows import HELDOUT, TRAIN
from variantforge.step import Pin, StepContext

CONTAMINATION = "contamination.json"


def clean_across(pool: Pool, policy: Mapping[str, Any]) -> dict[str, Any]:
    """Takes out what the policy takes out across sources; returns the facts of it."""
    facts: dict[str, Any] = {}
    if policy.get("on_special_tokens") == "skip":
        facts["special_tokens"] = drop_control_tokens(pool)
    if near := policy.get("deduplicate", {}).get("near"):
        facts["near_duplicates"] = drop_near_twins(pool, near)
    if rules := policy.get("decontaminate"):
        facts["contamination"] = drop_contaminated(pool, rules)
    if facts:
        pool.write_dropped()
    return facts


def drop_contaminated(pool: Pool, rules: Mapping[str, Any]) -> dict[str, Any]:
    """Rows to train on that hold items of a suite leave, or are told of; a report stands in ``contamination.json``.

    Raises Contaminated where the policy does not stand for it.
    """
    spec = DecontaminateSpec(**{name: value for name, value in rules.items() if name not in ("suites", "tasks")})
    suites = Suites(_suite_texts(pool.context), ngram=spec.ngram, code=spec.code)
    report, lying, hit = Report(suites), pool.standings([TRAIN]), list[Standing]()
    for standing, row in zip(lying, pool.rows(lying), strict=True):
        if hits := suites.hits(row):
            report.add(row, hits)
            hit.append(standing)
            if spec.on_hit == "drop":
                pool.tell(standing, "contaminated", items=[[*one.item] for one in hits])
    refuse_contaminated(report, spec, len(hit))
    write_json(pool.context.out / CONTAMINATION, report.document)
    if spec.on_hit == "drop":
        pool.drop(hit)
    for name, facts in report.facts.items():
        if facts["hit"]:
            found = f"{facts['hit']:,} of {facts['items']:,} items ({facts['share']:.1%}) in {facts['rows']:,} rows"
            done = ", which were dropped" if spec.on_hit == "drop" else ""
            pool.context.note(f"{name}: {found}{done}")
    return {name: {**facts, "dropped": spec.on_hit == "drop"} for name, facts in report.facts.items()}


def refuse_contaminated(report: Report, spec: DecontaminateSpec, rows: int) -> None:
    """Raises Contaminated when rows hit and none may, or when too many of a suite's items are hit."""
    most = 0.0 if spec.on_hit == "error" else spec.max_share
    over = {name: facts for name, facts in report.facts.items() if most is not None and facts["share"] > most}
    if over:
        told = ", ".join(f"{facts['hit']:,} of {facts['items']:,} items of {name}" for name, facts in over.items())
        raise Contaminated(
            f"{rows:,} rows to train on hold {told}",
            why="\n".join(report.lines()),
            next="take the rows out of the datasets, or have them left out with "
            "data_policy: {decontaminate: {on_hit: drop}} and no lower max_share",
        )


def _suite_texts(context: StepContext) -> dict[str, Iterable[SuiteText]]:
    """Suite -> its texts: of evaluations, of datasets of the family, of files."""
    texts: dict[str, Iterable[SuiteText]] = {}
    for suite in context.step.params["decontaminate"]["suites"]:
        evaluator: Any = EVALUATORS.load(suite["evaluator"])()
        texts[suite["name"]] = evaluator.suite_texts(evaluator.Params(**suite["params"]))
    for role, artifact in context.inputs.items():
        if role.startswith(AGAINST):
            texts[_free(role.removeprefix(AGAINST), texts)] = texts_of_rows(artifact.path)
    for task in context.step.params["decontaminate"].get("tasks", ()):
        pin = context.step.pins[f"{AGAINST}{task['dataset']}"]
        texts[task["name"]] = texts_of_task(task, pin.at.rpartition("@")[2])
    for role, pin in context.step.pins.items():
        if pin.at.startswith("hub:"):
            continue
        name = role.removeprefix(AGAINST)
        prove_pinned(pin, name)
        texts[name] = texts_of_file(Path(pin.at), name)
    return texts


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A dataset may be called as an evaluation is."""
    return f"{name} (dataset)" if name in taken else name


def prove_pinned(pin: Pin, name: str) -> None:
    """Raises DataError when a file is no longer what the key stands for."""
    if not Path(pin.at).is_file() or file_digest(Path(pin.at)) != pin.digest:
        raise DataError(
            f"{name} was changed while it was read",
            next="run the same command again: it plans with the file as it is now",
        )


def drop_control_tokens(pool: Pool) -> dict[str, int]:
    """Rows with the base's control tokens in their text leave both sides. Returns how many, by side."""
    base = pool.context.inputs[BASE]
    control = ControlTokens(control_tokens(base.path / "model", base.facts))
    lying, left = pool.standings(), list[Standing]()
    for standing, row in zip(lying, pool.rows(lying), strict=True):
        if found := control.found_in(row):
            left.append(standing)
            pool.tell(standing, "special tokens", tokens=found)
    pool.drop(left)
    if left:
        pool.context.note(f"{len(left):,} of {len(lying):,} rows left out, as control tokens stand in their text")
    train = sum(standing.side == TRAIN for standing in left)
    return {"train": train, "heldout": len(left) - train}


def drop_near_twins(pool: Pool, threshold: float) -> dict[str, int]:
    """Of near-twins, a held-out row stays before one to train on, else the one with the lower id: so neither the order
    of rows nor that of datasets matters. Returns how many left, by side, and how many of them for a held-out row."""
    lying = pool.standings()
    bands = near_duplicates.signatures(pool.rows(lying), len(lying), threshold)
    order = sorted(range(len(lying)), key=lambda place: (lying[place].side != HELDOUT, lying[place].line.id))
    ranked = [lying[place] for place in order]
    left = [
        (ranked[twin.position], ranked[twin.of], twin.likeness)
        for twin in near_duplicates.find_twins(bands[order], lambda place: pool.row(ranked[place]), threshold)
    ]
    for gone, kept, likeness in left:
        pool.tell(gone, "near", of=kept.line.id, of_source=kept.source, likeness=round(likeness, 4))
    pool.drop([gone for gone, _, _ in left])
    of_heldout = sum(gone.side == TRAIN and kept.side == HELDOUT for gone, kept, _ in left)
    train = sum(gone.side == TRAIN for gone, _, _ in left)
    if left:
        apart = f", {of_heldout:,} of them of held-out rows" if of_heldout else ""
        pool.context.note(f"{len(left):,} of {len(lying):,} rows dropped as near-duplicates ({threshold:g}){apart}")
    return {"train": train, "heldout": len(left) - train, "of_heldout": of_heldout}
