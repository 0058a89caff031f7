"""One demand and what was measured -> a verdict, in figures and in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from variantforge.errors import EvaluateError, UnpairedGate
from variantforge.spec.gates import BOUNDS
from variantforge.stages.evaluate.clean import without
from variantforge.stages.evaluate.evaluation import metric_of, split_metric
from variantforge.stages.evaluate.metric import CLEAN, CLEAN_SUFFIX, LEFT_OUT, Metric, read_examples
from variantforge.stages.evaluate.statistics import Evidence, NothingToCount, gained, interval, measured
from variantforge.stages.gate.demands import PREVIOUS
from variantforge.stages.gate.noise import AGAIN, floor_of
from variantforge.stages.gate.outcomes import Outcomes, read_outcomes
from variantforge.stages.gate.verdict import NOT_ENOUGH, Outcome, Verdict, refutation, verdict_on
from variantforge.step import Artifact, Step


def judge(step: Step, inputs: Mapping[str, Artifact], demand: Mapping[str, Any]) -> Verdict:
    """Raises EvaluateError where a metric was not measured, UnpairedGate where other items were."""
    case = _Case.of(step, inputs, demand)
    if case.nothing_left:
        return case.not_judged()
    try:
        if case.vs is None:
            return case.verdict(measured(case.metric, read_examples(case.subject)), "")
        if case.vs == PREVIOUS:
            return _against_previous(case, step)
        other = inputs[case.role(case.vs)]
        return case.verdict(_paired(case, other), f"{case.vs}'s {_short(case.value(other.facts))}")
    except (NothingToCount, KeyError) as error:
        raise EvaluateError(f"{demand['metric']} was not measured", why=str(error)) from error


@dataclass(frozen=True)
class _Case:
    """A demand with its subject. ``again``: the subject measured once more, where the demand asks for that."""

    demand: Mapping[str, Any]
    title: str
    metric: Metric
    bound: str
    subject: Artifact
    again: Artifact | None

    @classmethod
    def of(cls, step: Step, inputs: Mapping[str, Artifact], demand: Mapping[str, Any]) -> _Case:
        title, name = split_metric(demand["metric"], {role.rpartition(":")[0] for role in inputs})
        subject = inputs[_role(title, "subject", demand)]
        bound = next(one for one in BOUNDS if one in demand)
        metric = metric_of(demand["evaluator"], subject, name)
        return cls(demand, title, metric, bound, subject, inputs.get(f"{title}:{AGAIN}"))

    @property
    def vs(self) -> str | None:
        return self.demand.get("vs")

    def role(self, of: str) -> str:
        return _role(self.title, of, self.demand)

    @property
    def left_out(self) -> int:
        """How many items the training data hold, of a metric without those."""
        return sum(self.subject.facts[LEFT_OUT].values()) if self.demand.get(CLEAN) else 0

    @property
    def nothing_left(self) -> bool:
        return self.left_out > 0 and self.metric.name not in self.subject.facts["metrics"]

    @property
    def wanted(self) -> str:
        words = "better by more than" if self.bound == "better_by" else self.bound.replace("_", " ")
        return f"{words} {self.demand[self.bound]:g}"

    def value(self, facts: Mapping[str, Any]) -> float:
        return float(facts["metrics"][self.metric.name]["value"])

    def verdict(self, evidence: Evidence, theirs: str) -> Verdict:
        """``theirs``: ``base's 1.523``, or '' of a demand on a fixed figure."""
        figure, seen = self.demand[self.bound], evidence.interval
        lacking = self._lacking(evidence) or self._noisy()
        outcome = verdict_on(seen, self.bound, figure, enough=not lacking)
        why = f"{self.demand['metric']} {self._figures(evidence, theirs)}; demanded: {self.wanted}{lacking}"
        p = 1.0 if lacking else refutation(evidence, self.bound, figure, outcome)
        return Verdict(
            self.demand["metric"], self.vs, self.wanted, outcome, *seen, why=why, p=p, method=evidence.method
        )

    def _lacking(self, evidence: Evidence) -> str:
        """Why there are too few examples, if there are."""
        least = self.demand.get("min_examples")
        if least and evidence.interval.n < least:
            return f"; at least {least} examples are asked for (min_examples)"
        if evidence.units < evidence.least:
            return f"; at least {evidence.least} examples are needed"
        return ""

    def _noisy(self) -> str:
        """Why the margin is within the noise of measuring, if it is and was asked for."""
        if not self.demand.get("noise_floor") or self.again is None:
            return ""
        floor = floor_of(self.metric, read_examples(self.subject), read_examples(self.again))
        if 2 * floor <= self.demand[self.bound]:
            return ""
        return f"; measured twice, the same file differs by {_short(floor)}: the margin must be twice that"

    def not_judged(self) -> Verdict:
        """The verdict where the training data hold every item."""
        why = f"{self.demand['metric']} has no items left: the training data hold all {self.left_out}"
        return Verdict(self.demand["metric"], self.vs, self.wanted, NOT_ENOUGH, None, None, None, 0, why)

    def not_compared(self, outcome: Outcome, reason: str) -> Verdict:
        """A verdict where there is nothing to compare with."""
        n = int(self.subject.facts["metrics"][self.metric.name]["n"])
        value = _short(self.value(self.subject.facts))
        why = f"{self.demand['metric']} is {value}; demanded: {self.wanted}; {reason}"
        return Verdict(self.demand["metric"], self.vs, self.wanted, outcome, None, None, None, n, why)

    def _figures(self, evidence: Evidence, theirs: str) -> str:
        """``1.213 is 0.31 better than base's 1.523 (95 % bounds 0.24 to 0.38, 57 examples)``"""
        value, seen = self.value(self.subject.facts), evidence.interval
        drawn = f"{seen.n} examples" if seen.n != 1 else "1 example"
        if "sources" in evidence.method:
            drawn += f" of {evidence.units} sources"
        if self.demand.get(CLEAN):
            drawn += f", {self.left_out} left out"
        if seen.low is None or seen.high is None:
            sure = f"{drawn}, no interval"
        else:
            sure = f"95 % bounds {_short(seen.low)} to {_short(seen.high)}, {drawn}"
        if not theirs:
            return f"is {_short(value)} ({sure})"
        way = "better" if seen.value >= 0 else "worse"
        return f"{_short(value)} is {_short(abs(seen.value))} {way} than {theirs} ({sure})"


def _paired(case: _Case, other: Artifact) -> Evidence:
    """The gain over ``other``. Raises UnpairedGate when not the same items, or not the same tokens, were measured."""
    ours, theirs = case.subject.facts.get("tokens_sha256"), other.facts.get("tokens_sha256")
    try:
        if ours != theirs:
            raise ValueError(f"the token digests are {ours} and {theirs}")
        return gained(case.metric, read_examples(case.subject), read_examples(other))
    except NothingToCount:
        raise
    except ValueError as error:
        what = "tokens" if ours != theirs else "items"
        raise UnpairedGate(
            f"{case.metric.name} cannot be compared with {case.vs}: other {what} were measured",
            why=f"{str(error)[:1].upper()}{str(error)[1:]}. A tokenizer, a chat template or a suite differs.",
            next="make sure that the model's tokenizer is the base's, then run again",
        ) from error


def _against_previous(case: _Case, step: Step) -> Verdict:
    """Beside the outcomes that the release before published. A first release has nothing to be worse than."""
    version = step.params.get("previous", "")
    pin = step.pins.get(f"{case.title}:{PREVIOUS}")
    if not version:
        return case.not_compared("pass", "there is no previous release")
    before = read_outcomes(pin) if pin else None
    plain = case.metric.name.removesuffix(CLEAN_SUFFIX) if case.demand.get(CLEAN) else case.metric.name
    if before is None or plain not in before.metrics:
        return case.not_compared("pass", f"release {version} did not measure it")
    if reason := _other_suite(case, before):
        return case.not_compared(NOT_ENOUGH, f"release {version} {reason}")
    ours, value = read_examples(case.subject), before.metrics[plain]
    if case.demand.get(CLEAN):  # of the earlier release the same items are left out, whatever its own data held
        before = replace(before, rows=without(before.rows, ours))
        value = interval(case.metric, before.rows).value
    return case.verdict(gained(case.metric, ours, before.rows), f"{version}'s {_short(value)}")


def _role(title: str, of: str, demand: Mapping[str, Any]) -> str:
    return f"{title}:{of} {CLEAN}" if demand.get(CLEAN) else f"{title}:{of}"


def _other_suite(case: _Case, before: Outcomes) -> str:
    """Why the two cannot be paired, if so."""
    rows = read_examples(case.subject)
    if [row["id"] for row in rows] != [row["id"] for row in before.rows]:
        shared = len({row["id"] for row in rows} & {row["id"] for row in before.rows})
        return f"was measured on other items ({shared} of {len(rows)} are the same)"
    if case.subject.facts.get("tokens_sha256") != before.tokens_sha256:
        return "was measured on other tokens of the same items"
    wanted = {case.metric.total, case.metric.per}
    if any(wanted <= row.keys() and not wanted <= old.keys() for row, old in zip(rows, before.rows, strict=True)):
        return "did not keep what the metric sums"
    return ""


def _short(value: float) -> str:
    return f"{value:.4g}"
