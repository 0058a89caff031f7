"""What the gates of a plan can see at their sample size, told before anything is paid.

How many items an evaluation has is known from its parameters or its suite; how far they scatter, from the last
measurement of that place where there is one, else by what ``stages/gate/power`` assumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from variantforge.errors import VariantforgeError
from variantforge.plan.explain import Remembered, Shelf
from variantforge.plan.plan import Plan
from variantforge.spec.gates import BOUNDS
from variantforge.stages import Place
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.evaluate.again import AGAIN
from variantforge.stages.evaluate.evaluation import metric_of, split_metric
from variantforge.stages.evaluate.metric import CLEAN, CLEAN_SUFFIX, EXAMPLES_FILE, Metric, read_examples
from variantforge.stages.evaluate.sized import HasSize
from variantforge.stages.gate.demands import PREVIOUS
from variantforge.stages.gate.power import POWER, paired_error, share_error, sight
from variantforge.step import Artifact, Step

_SMALL = 0.5  # a suite is too small where a file as good as the other passes less often than this


@dataclass(frozen=True)
class Outlook:
    """What one demand can see; ``files``: labels of the gates that make it. ``known`` says where the figures come from:
    ``measured`` or ``assumed``; without them, ``n`` (None: not known either) is all that can be said. ``small``: the
    suite is too small for the margin, ``needs``: as many items would do. ``first``: nothing was released before, so
    it passes."""

    metric: str
    vs: str | None
    demand: str
    figure: float
    n: int | None
    at_most: bool
    known: str
    sees: float | None = None
    proves: float | None = None
    equal_passes: float | None = None
    needs: int | None = None
    small: bool = False
    first: bool = False
    files: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        return {**asdict(self), "files": list(self.files), "power": POWER}


def outlooks(
    plan: Plan,
    store: Shelf,
    keys: Iterable[str],
    used: Mapping[Place, Remembered] | None = None,
    root: Path | None = None,
) -> list[Outlook]:
    """Of the gates among ``keys``, equal ones once. ``root``: where ``used`` artifacts lie."""
    found: dict[tuple[Any, ...], tuple[Outlook, list[str]]] = {}
    for key in keys:
        step = plan.steps[key]
        if step.stage == "gate" and step.method == "bounds":
            for demand in step.params["demands"]:
                one = _Looked(plan, store, used or {}, root, step, demand)
                found.setdefault(one.alike, (one.outlook() if one.alike not in found else found[one.alike][0], []))
                found[one.alike][1].append(plan.label(key))
    return [Outlook(**{**vars(outlook), "files": tuple(files)}) for outlook, files in found.values()]


@dataclass(frozen=True)
class _Looked:
    """One demand of one gate step, and where to look for what was measured before."""

    plan: Plan
    store: Shelf
    used: Mapping[Place, Remembered]
    root: Path | None
    step: Step
    demand: Mapping[str, Any]

    @property
    def title(self) -> str:
        return split_metric(self.demand["metric"], {role.rpartition(":")[0] for role in self.step.inputs})[0]

    @property
    def bound(self) -> str:
        return next(bound for bound in BOUNDS if bound in self.demand)

    @property
    def metric(self) -> str:
        """Without its evaluation; one without the items that training data hold scatters like that of all items."""
        name: str = self.demand["metric"].removeprefix(f"{self.title}.")
        return name.removesuffix(CLEAN_SUFFIX) if self.demand.get(CLEAN) else name

    @property
    def measuring(self) -> Step:
        return self.plan.steps[self.step.inputs[f"{self.title}:subject"]]

    @property
    def alike(self) -> tuple[Any, ...]:
        demand = self.demand
        return demand["metric"], demand.get("vs"), self.bound, demand[self.bound], str(sorted(self.measuring.params))

    def outlook(self) -> Outlook:
        figure, vs, bound = float(self.demand[self.bound]), self.demand.get("vs"), self.bound
        n, at_most = self._items()
        at_most = at_most or CLEAN in self.demand
        wanted = f"{bound.replace('_', ' ')} {figure:g}"
        told = Outlook(self.demand["metric"], vs, wanted, figure, n, at_most, "unknown")
        if vs == PREVIOUS and not self.step.params.get(PREVIOUS):
            return Outlook(**{**vars(told), "first": True})
        error = self._error(n, vs, figure)
        if n is None or error is None:
            return told
        known, at = error
        step = 1 / n if known == "assumed" else 0.0
        seen = sight(n, figure if bound == "worse_by_at_most" else 0.0, at, step)
        if bound != "worse_by_at_most":  # by how much it must be better than was demanded
            reach = seen.proves if vs is None else seen.sees
            return Outlook(**{**vars(told), "known": known, "sees": _round(reach)})
        small = seen.equal_passes < _SMALL
        return Outlook(
            **{
                **vars(told),
                "known": known,
                "sees": _round(seen.sees),
                "proves": _round(seen.proves),
                "equal_passes": round(seen.equal_passes, 3),
                "needs": seen.needs if small else None,
                "small": small,
            }
        )

    def _items(self) -> tuple[int | None, bool]:
        """How many items the evaluation has, and whether they may be fewer."""
        if measured := self._measured("subject"):
            counted = measured.facts["metrics"].get(self.metric, {}).get("n", measured.facts["examples"])
            return int(counted), False
        evaluator = EVALUATORS.load(self.measuring.method)()
        if isinstance(evaluator, HasSize):
            own = {name: value for name, value in self.measuring.params.items() if name != AGAIN}
            with suppress(VariantforgeError, OSError):
                return evaluator.size(replace(self.measuring, params=own), self.metric)
            return None, False
        try:
            params = evaluator.Params(**{k: v for k, v in self.measuring.params.items() if k != AGAIN})
        except ValidationError:
            return None, False
        most = getattr(params, "max_examples", None)
        return (most, True) if isinstance(most, int) else (None, False)

    def _error(self, n: int | None, vs: str | None, figure: float) -> tuple[str, Any] | None:
        """Where the standard error is known from, and the function from a true drop to it; None: it is not known."""
        ours, theirs = self._measured("subject"), self._measured(vs) if vs else None
        if ours and (theirs or not vs):
            metric = _metric(self.measuring.method, ours, self.metric)
            spread = _spread(metric, read_examples(ours), read_examples(theirs) if theirs else None) if metric else None
            if spread is not None:
                return "measured", lambda drop: spread
        if n is None or not self._right_or_wrong():
            return None
        if vs is None:
            return ("assumed", lambda drop: share_error(n, figure)) if 0 <= figure <= 1 else None
        return "assumed", lambda drop: paired_error(n, drop)

    def _right_or_wrong(self) -> bool:
        """Whether items count one each: what is summed over tokens or positions is not right or wrong."""
        forms = [one for one in EVALUATORS.load(self.measuring.method).METRICS if one.name == self.metric]
        return all(form.scale == "identity" and form.per not in ("tokens", "positions") for form in forms)

    def _measured(self, role: str | None) -> Artifact | None:
        """What was measured in this role: now, or when the place was last applied."""
        key = self.step.inputs.get(f"{self.title}:{role}")
        if key is None:
            return None
        before = [old.key for place in self.plan.places_of[key] if (old := self.used.get(place))] if self.root else []
        there = self.store.find(self.plan.steps[key])
        known = [there] if there else []
        known += [Artifact(old, self.root / "evaluate" / old) for old in before if self.root]
        return next((one for one in known if (one.path / EXAMPLES_FILE).is_file()), None)


def _metric(method: str, measured: Artifact, name: str) -> Metric | None:
    with suppress(StopIteration, OSError):
        return metric_of(method, measured, name)
    return None


def _spread(metric: Metric, ours: list[dict[str, Any]], theirs: list[dict[str, Any]] | None) -> float | None:
    """The standard error of a ratio of sums, or of the difference of two on the same items (linearised); without
    numpy, since plans do not load it. None where the items differ."""
    if theirs is not None and [row["id"] for row in ours] != [row["id"] for row in theirs]:
        return None
    sides = [_deviations(metric, ours)] + ([_deviations(metric, theirs)] if theirs is not None else [])
    if not all(sides):
        return None
    terms = sides[0] if len(sides) == 1 else [a - b for a, b in zip(*sides, strict=True)]
    return sqrt(sum(term * term for term in terms)) or None


def _deviations(metric: Metric, rows: list[dict[str, Any]]) -> list[float]:
    from math import exp

    per = sum(row.get(metric.per) or 0 for row in rows)
    if not per:
        return []
    ratio = sum(row.get(metric.total) or 0 for row in rows) / per
    slope = exp(ratio) if metric.scale == "exp" else 1.0
    return [slope * ((row.get(metric.total) or 0) - ratio * (row.get(metric.per) or 0)) / per for row in rows]


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def sentences(one: Outlook) -> Iterator[str]:
    """An outlook in words; the last of them where the suite is too small."""
    count = "an unknown number of items" if one.n is None else f"{'at most ' * one.at_most}{one.n:,} items"
    if one.first:
        yield "no earlier release is known: it passes as the first"
        return
    if one.sees is None:
        yield f"{count}; what it can see is known once it was measured"
        return
    basis = "" if one.known == "measured" else (", flips assumed" if one.vs else "")
    if one.equal_passes is None:
        yield f"{count}: passes from {_reached(one)} on{basis}"
        return
    percent = f"{100 * one.equal_passes:.0f} %"
    yield f"{count}: sees a drop of {one.sees:.3g}; a file just as good passes {percent} of the time{basis}"
    if one.small:
        more = f"{one.needs:,} items, or a" if one.needs else "a"
        yield f"too few for this margin: it takes {more} margin of {one.proves:.2g}"


def _reached(one: Outlook) -> str:
    """The true figure, or gain, from which on the demand is proven 80 times of 100."""
    reach = one.sees or 0.0
    if one.demand.startswith("better"):
        return f"a true gain of {one.figure + reach:.3g}"
    return f"a true {one.figure - reach if one.demand.startswith('at most') else one.figure + reach:.3g}"
