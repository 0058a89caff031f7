"""variantforge: declare a family of model variants, keep reality equal to the file.

Six nouns: a **Spec** is what is wanted; a **Step** is one unit of work, known by the hash of its content; a
**Stage** is how one kind of step is planned and done; a **Plan** is all steps of a family, laid out before anything
runs; an **Artifact** is a finished step's folder; the **Store** holds artifacts by key.

    from pathlib import Path
    from variantforge import Resolver, Store, build_plan, explain, load_family, run_plan

    file = load_family(Path("family.yaml"))
    store = Store(Path(".variantforge"))
    plan = build_plan(file, Resolver(cache=store.root / "pins.json"))
    for key, decision in explain(plan, store).items():
        print(decision.word, plan.label(key), decision.reason)
    report = run_plan(plan, store)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from variantforge.plan.build import Plan, build_plan
    from variantforge.plan.explain import explain
    from variantforge.plan.pin import Resolver
    from variantforge.run.runner import run_plan
    from variantforge.spec.load import load_family
    from variantforge.store.artifacts import Store

__version__ = "0.1.0"

_TOUR = {
    "load_family": "variantforge.spec.load",
    "Resolver": "variantforge.plan.pin",
    "Plan": "variantforge.plan.build",
    "build_plan": "variantforge.plan.build",
    "explain": "variantforge.plan.explain",
    "Store": "variantforge.store.artifacts",
    "run_plan": "variantforge.run.runner",
}

__all__ = ["Plan", "Resolver", "Store", "build_plan", "explain", "load_family", "run_plan"]


def __getattr__(name: str) -> Any:
    if name in _TOUR:
        return getattr(import_module(_TOUR[name]), name)
    raise AttributeError(name)
