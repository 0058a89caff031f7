"""Plan + store (+ journal) -> Report. Reads; needs no network, and nothing that a step would need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import cast

from variantforge.plan.plan import Plan
from variantforge.report.answers import side_by_side
from variantforge.report.cells import cells
from variantforge.report.data import datasets, mixes
from variantforge.report.document import Cell, GatePanel, Report, Summary
from variantforge.report.gates import gates
from variantforge.report.ledger import ledger
from variantforge.report.licensing import repos
from variantforge.report.lineage import lineage
from variantforge.report.quality import suites, trade_offs
from variantforge.report.shelf import Shelf
from variantforge.report.training import trainings
from variantforge.spec.family import FamilySpec
from variantforge.stages.card.facts import MEANINGS
from variantforge.stages.evaluate.metric import BASE
from variantforge.store.artifacts import Store

VERDICTS = ("pass", "fail", "not enough data")


def gather(plan: Plan, store: Store, *, apply: str = "vf apply") -> Report:
    """What there is to say of a family that was laid out from its file. ``apply``: the command that makes the rest."""
    shelf, family = Shelf(plan, store), cast(FamilySpec, plan.family)
    by_place = cells(shelf, family)
    found, panels = list(by_place.values()), gates(shelf, family)
    quality = trade_offs(shelf, family, found), suites(shelf, family), side_by_side(shelf, family)
    made_of = trainings(shelf, family), mixes(shelf, family), datasets(shelf, family)
    spent, told = ledger(shelf), repos(shelf, family)
    missing = shelf.missing()  # last: what could not be read is known by now
    return Report(
        family=family.family,
        version=family.version,
        description=family.description,
        summary=_summary(shelf, found, panels, len(missing)),
        lineage=lineage(shelf, family, by_place),
        cells=found,
        trade_offs=quality[0],
        gates=panels,
        suites=quality[1],
        answers=quality[2],
        trainings=made_of[0],
        mixes=made_of[1],
        datasets=made_of[2],
        ledger=spent,
        repos=told,
        missing=missing,
        metrics=_meanings(found),
        planned=dict(Counter(step.stage for step in plan.steps.values())),
        apply=apply,
    )


def _summary(shelf: Shelf, cells: Iterable[Cell], panels: Iterable[GatePanel], missing: int) -> Summary:
    files = [cell for cell in cells if cell.subject != BASE]
    verdicts = Counter(row.verdict for panel in panels for row in panel.rows)
    steps = len(shelf.plan.steps)
    return Summary(
        variants=len(shelf.plan.family.variants),
        files=len(files),
        files_here=sum(cell.state != "missing" for cell in files),
        verdicts={word: verdicts[word] for word in VERDICTS},
        steps=steps,
        steps_here=steps - missing,
        shipped=sum(bool(cell.ships) for cell in files),
        withheld=sum(bool(cell.withheld) for cell in files),
    )


def _meanings(cells: Iterable[Cell]) -> dict[str, str]:
    """What the metrics are that somebody may meet for the first time."""
    names = dict.fromkeys(metric for cell in cells for metric in cell.metrics)
    return {name: MEANINGS[short] for name in names if (short := name.rpartition(".")[2]) in MEANINGS}
