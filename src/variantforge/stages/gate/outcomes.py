"""What was measured of every item, as a release publishes it: so that the next one can be compared in pairs.

evaluations/<variant>.<evaluation>.<subject>.jsonl
1  {"family", "version", "variant", "evaluation", "evaluator", "subject", "tokens_sha256", "metrics": {name: value}}
2… a row per item: its id, its source or cluster, and what the metrics sum. No text: neither prompts nor answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variantforge.errors import IntegrityError
from variantforge.hashing import bytes_digest
from variantforge.stages.evaluate.metric import read_examples
from variantforge.step import Artifact, Pin

FOLDER = "evaluations"
_KEPT = ("id", "source", "cluster")


@dataclass(frozen=True)
class Outcomes:
    """One evaluation of one file of an earlier release. ``metrics``: name -> value."""

    tokens_sha256: str | None
    metrics: Mapping[str, float]
    rows: list[dict[str, Any]]


def outcomes_file(variant: str, title: str, subject: str) -> str:
    return f"{variant}.{title}.{subject.replace(':', '-')}.jsonl"


def outcomes_text(measured: Artifact, told: Mapping[str, Any]) -> str:
    """The file's text; ``told``: family, version, variant, evaluation and subject."""
    metrics = {name: one["value"] for name, one in sorted(measured.facts["metrics"].items())}
    head = {**told, "tokens_sha256": measured.facts.get("tokens_sha256"), "metrics": metrics}
    lines = (head, *map(_figures, read_examples(measured)))
    return "".join(json.dumps(line, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in _KEPT or isinstance(value, int | float)}


def read_outcomes(pin: Pin) -> Outcomes:
    """Raises IntegrityError for what was not written like that, or changed since it was pinned: what is published may
    be edited by anybody."""
    path = Path(pin.at)
    try:
        data = path.read_bytes()
        if bytes_digest(data) != pin.digest:
            raise ValueError("it was changed while this ran")
        head, *rows = [json.loads(line, parse_constant=_no_number) for line in data.decode().splitlines()]
        metrics = {str(name): float(value) for name, value in head["metrics"].items()}
        if not rows or not all(_is_row(row) for row in rows):
            raise ValueError("a row has no id, or no figures")
        return Outcomes(head.get("tokens_sha256"), metrics, rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            f"{path.name} of the previous release cannot be read",
            why=f"{type(error).__name__}: {error}",
            next="restore it as it was published, or remove that version's folder to compare with the one before",
        ) from error


def _is_row(row: Any) -> bool:
    figures = [value for name, value in row.items() if name not in _KEPT]
    return isinstance(row["id"], str) and all(isinstance(value, int | float) for value in figures)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no figure")
