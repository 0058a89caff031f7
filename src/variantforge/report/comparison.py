"""Two subjects beside each other: what both measured, in pairs, and what both answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from variantforge.errors import UsageError
from variantforge.registry import near
from variantforge.report.answers import columns_of, marks_of, prompt_of, stored_answers
from variantforge.report.cells import estimate, place_of
from variantforge.report.document import Estimate
from variantforge.report.shelf import Shelf
from variantforge.spec.family import FamilySpec
from variantforge.stages import Place
from variantforge.stages.evaluate.metric import BASE, MERGED, subjects
from variantforge.stages.evaluate.statistics import NothingToCount, gain
from variantforge.step import Artifact


@dataclass(frozen=True)
class Subject:
    """``variant/of``, such as ``code/gguf:Q4_K_M``."""

    variant: str
    of: str

    def __str__(self) -> str:
        return f"{self.variant}/{self.of}"


@dataclass(frozen=True)
class Compared:
    """A metric of two subjects; None of one that does not have it, as merged weights no divergence from themselves.

    ``gain``: by how much the first is better, one-sided 95 % bounds; None with ``why``.
    """

    metric: str
    better: str | None
    first: Estimate | None
    second: Estimate | None
    gain: Estimate | None
    why: str


@dataclass(frozen=True)
class Pair:
    """One item that both answered."""

    evaluation: str
    id: str
    prompt: str
    first: str
    second: str
    differ: bool


@dataclass(frozen=True)
class Comparison:
    """``missing``: evaluations that are to measure one of the two and have not, with which."""

    first: Subject
    second: Subject
    metrics: list[Compared]
    answers: list[Pair]
    missing: list[str]


def subjects_of(shelf: Shelf, names: Sequence[str]) -> list[Subject]:
    """The subjects that are meant: ``code/merged``, ``code`` (its merged weights), ``code/Q4_K_M``, or ``base``.

    A bare ``base`` is that of the other subject's variant. Raises UsageError, with the nearest name.
    """
    family = cast(FamilySpec, shelf.plan.family)
    named = [name for name in names if name != BASE]
    variant = named[0].partition("/")[0] if named else next(iter(family.variants))
    return [_subject(family, f"{variant}/{BASE}" if name == BASE else name) for name in names]


def _subject(family: FamilySpec, name: str) -> Subject:
    variant, _, of = name.partition("/")
    if variant not in family.variants:
        raise _no_such(name, variant, [BASE, *family.variants])
    there = subjects(family.variants[variant])
    for subject in there:
        if (of or MERGED) in (subject, subject.removeprefix("gguf:")):
            return Subject(variant, subject)
    raise _no_such(name, of, [*there, *(subject.removeprefix("gguf:") for subject in there)], variant)


def _no_such(name: str, part: str, known: Sequence[str], variant: str = "") -> UsageError:
    told = list(dict.fromkeys(known))
    hint = near(part, told) or f"There are: {', '.join(told[:12])}."
    what = f"{variant} has no '{part}'." if variant else f"the family has no '{name}'."
    return UsageError(what, why=hint.strip())


def compare(shelf: Shelf, first: Subject, second: Subject) -> Comparison:
    """From what is in the store. Where one of the two was not measured, it is told as missing."""
    family = cast(FamilySpec, shelf.plan.family)
    metrics, answers, missing = list[Compared](), list[Pair](), list[str]()
    for title in family.evaluate:
        places = [Place("evaluate", one.variant, f"{title}:{one.of}") for one in (first, second)]
        if not all(place in shelf.plan.places for place in places):
            continue  # it is no measurement of both: parity has nothing to say of a base
        found = [shelf.artifact(*place) for place in places]
        absent = [str(one) for one, artifact in zip((first, second), found, strict=True) if artifact is None]
        if absent:
            missing.append(f"{title} of {' and '.join(absent)}")
            continue
        ours, theirs = cast(list[Artifact], found)
        metrics += _metrics(shelf, title, ours, theirs)
        answers += _pairs(shelf, title, first, second)
    return Comparison(first, second, metrics, sorted(answers, key=lambda pair: not pair.differ), missing)


def _metrics(shelf: Shelf, title: str, ours: Artifact, theirs: Artifact) -> Iterator[Compared]:
    here, there = (shelf.facts(artifact) or {} for artifact in (ours, theirs))
    for name in {**here["metrics"], **there["metrics"]}:
        mine, other = (facts["metrics"].get(name) for facts in (here, there))
        over, why = _gain(shelf, name, ours, theirs) if mine and other else (None, "measured of one alone")
        told = estimate(mine) if mine else None, estimate(other) if other else None
        yield Compared(f"{title}.{name}", (mine or other).get("better"), *told, over, why)


def _gain(shelf: Shelf, name: str, ours: Artifact, theirs: Artifact) -> tuple[Estimate | None, str]:
    metric = shelf.metric(ours, name)
    here, there = shelf.facts(ours) or {}, shelf.facts(theirs) or {}
    if metric is None or metric.better is None:
        return None, "it has no better side"
    if ours.key == theirs.key:
        return None, "it is one measurement"
    if here.get("tokens_sha256") != there.get("tokens_sha256"):
        return None, "other tokens were measured"
    try:
        return Estimate(*gain(metric, shelf.examples(ours), shelf.examples(theirs))), ""
    except (NothingToCount, KeyError):
        return None, "one of them does not keep what it sums"
    except ValueError:
        return None, "other examples were measured"


def _pairs(shelf: Shelf, title: str, first: Subject, second: Subject) -> Iterator[Pair]:
    ours, theirs = (stored_answers(shelf, one.variant, title, one.of) for one in (first, second))
    columns = _judged(shelf, title, first, second) if ours and theirs else []
    for id, row in ours.items():
        if other := theirs.get(id):
            differ = marks_of(row, columns) != marks_of(other, columns)
            yield Pair(title, id, prompt_of(row) or prompt_of(other), row["answer"], other["answer"], differ)


def _judged(shelf: Shelf, title: str, *both: Subject) -> list[str]:
    """The columns that metrics of both sum."""
    made = [shelf.artifact("evaluate", one.variant, f"{title}:{one.of}") for one in both]
    columns = [columns_of(shelf, artifact) for artifact in made if artifact]
    return [column for column in columns[0] if all(column in found for found in columns)]


def weights_of(shelf: Shelf, subject: Subject) -> Artifact:
    """The artifact with a subject's weights. Raises UsageError when it is not made."""
    artifact = shelf.artifact(*place_of(subject.variant, subject.of))
    if artifact is None:
        raise UsageError(f"{subject} is not made yet", next="vf apply")
    return artifact
