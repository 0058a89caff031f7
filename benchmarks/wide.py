"""What came of specs/wide.yaml: sizes, verdicts and leading measurements of every file, as its report has them.

    vf apply specs/wide.yaml
    python -m benchmarks.wide [--store FOLDER]

Measures nothing itself: it reads the store and writes benchmarks/results/wide.json. Seconds are those that the steps
took, some of them with other work beside them, so their sum is no measure of the machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "wide.json"
TOLD = ("heldout.loss", "parity.kl", "python.pass@1", "form.json_valid", "form.no_loop", "form.stops")


def told(store: Path) -> dict[str, Any]:
    """The figures of a store in which all of the family is there."""
    from variantforge.plan.build import build_plan
    from variantforge.plan.pin import Resolver
    from variantforge.report import gather
    from variantforge.spec.load import load_family
    from variantforge.store.artifacts import Store

    plan = build_plan(load_family(ROOT / "specs" / "wide.yaml"), Resolver(cache=store / "pins.json"))
    report = gather(plan, Store(store))
    if report.missing:
        raise SystemExit(f"{len(report.missing)} steps are not in {store}: vf apply specs/wide.yaml")
    return {
        "steps": report.summary.steps,
        "verdicts": report.summary.verdicts,
        "files": report.summary.files,
        "shipped": report.summary.shipped,
        "withheld": report.summary.withheld,
        "seconds": round(report.ledger.seconds),
        "cells": {
            f"{cell.variant}/{cell.subject}": {
                "verdict": cell.state,
                "size_bytes": cell.size_bytes,
                **{name: round(cell.metrics[name].value, 6) for name in TOLD if name in cell.metrics},
            }
            for cell in report.cells
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=ROOT / "specs" / ".variantforge")
    figures = told(parser.parse_args().store.resolve())
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{figures['steps']} steps, {figures['shipped']} of {figures['files']} files shipped, {figures['verdicts']}")


if __name__ == "__main__":
    main()
