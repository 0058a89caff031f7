"""The same prompts, what each file answered: rows of ``examples.jsonl`` that keep the text of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from variantforge.report.document import Answer, Asked, SideBySide
from variantforge.report.shelf import Shelf
from variantforge.spec.family import FamilySpec
from variantforge.stages.evaluate.metric import BASE, MERGED, subjects
from variantforge.step import Artifact

MOST_ITEMS, MOST_SUBJECTS = 6, 4
MOST_LETTERS, MOST_OF_PROMPT = 1200, 800
OPPONENT = "its opponent"  # of an arena: what it was judged beside
PROMPTS = ("prompt", "question", "messages")  # where an evaluator keeps what was asked, if it does

Rows = Mapping[str, Mapping[str, Any]]  # id -> row


def side_by_side(shelf: Shelf, family: FamilySpec) -> list[SideBySide]:
    """Per evaluation and variant, a few items: those first on which the files were not equally good."""
    found = (_of(shelf, family, title, name) for name in family.variants for title in family.evaluate)
    return [one for one in found if one.items]


def _of(shelf: Shelf, family: FamilySpec, title: str, variant: str) -> SideBySide:
    answered: dict[str, Rows] = {}
    for subject in subjects(family.variants[variant]):
        if rows := stored_answers(shelf, variant, title, subject):
            answered[subject] = rows
    shown = _shown(list(answered))
    columns = _columns(shelf, variant, title, list(answered))
    ids = [id for id in next(iter(answered.values()), {}) if sum(id in rows for rows in answered.values()) > 1]
    ids = ids or list(next(iter(answered.values()), {}))
    ids.sort(key=lambda id: not _differ(answered, id, columns))  # stable: in the suite's order otherwise
    items = [_asked(id, {subject: answered[subject] for subject in shown}, columns) for id in ids[:MOST_ITEMS]]
    return SideBySide(title, variant, items, len(ids))


def stored_answers(shelf: Shelf, variant: str, title: str, subject: str) -> dict[str, dict[str, Any]]:
    """Id -> row, of the rows that keep an answer; {} where the evaluation was not made or keeps none."""
    artifact = shelf.artifact("evaluate", variant, f"{title}:{subject}")
    rows = shelf.examples(artifact) if artifact else []
    return {str(row["id"]): row for row in rows if isinstance(row.get("answer"), str) and "id" in row}


def prompt_of(row: Mapping[str, Any]) -> str:
    """What was asked, as text; '' where the row does not keep it."""
    for name in PROMPTS:
        if isinstance(value := row.get(name), str):
            return value
        if isinstance(value, list):
            turns = [turn for turn in value if isinstance(turn, dict)]
            return "\n\n".join(f"{turn.get('role', '')}: {turn.get('content', '')}" for turn in turns)
    return ""


def _shown(answered: Sequence[str]) -> list[str]:
    """Base and merged weights first, then formats in their order."""
    first = [subject for subject in (BASE, MERGED) if subject in answered]
    return [*first, *(subject for subject in answered if subject not in first)][:MOST_SUBJECTS]


def _columns(shelf: Shelf, variant: str, title: str, answered: Sequence[str]) -> list[str]:
    """The columns of rows of any subject that metrics sum."""
    artifacts = [shelf.artifact("evaluate", variant, f"{title}:{subject}") for subject in answered]
    return list(dict.fromkeys(column for it in artifacts if it for column in columns_of(shelf, it)))


def columns_of(shelf: Shelf, artifact: Artifact) -> list[str]:
    """The columns of its rows that metrics sum."""
    metrics = (shelf.metric(artifact, name) for name in (shelf.facts(artifact) or {}).get("metrics", {}))
    return [metric.total for metric in metrics if metric]


def marks_of(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, float]:
    return {name: float(row[name]) for name in columns if isinstance(row.get(name), int | float)}


def _differ(answered: Mapping[str, Rows], id: str, columns: Sequence[str]) -> bool:
    marks = [marks_of(rows[id], columns) for rows in answered.values() if id in rows]
    return any(one != marks[0] for one in marks)


def _asked(id: str, answered: Mapping[str, Rows], columns: Sequence[str]) -> Asked:
    rows = {subject: found[id] for subject, found in answered.items() if id in found}
    prompt = next((text for row in rows.values() if (text := prompt_of(row))), "")
    answers = [_answer(subject, row["answer"], row, columns) for subject, row in rows.items()]
    if isinstance(other := next(iter(rows.values()), {}).get("other"), str):
        answers.append(_answer(OPPONENT, other, {}, columns))
    return Asked(id, prompt[:MOST_OF_PROMPT], max(0, len(prompt) - MOST_OF_PROMPT), answers)


def _answer(subject: str, text: str, row: Mapping[str, Any], columns: Sequence[str]) -> Answer:
    verdict = ": ".join(str(row[name]) for name in ("verdict", "reason") if row.get(name))
    return Answer(subject, text[:MOST_LETTERS], max(0, len(text) - MOST_LETTERS), marks_of(row, columns), verdict[:200])
