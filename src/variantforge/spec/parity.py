"""The evaluation that every family has without writing it: ``parity``, of what ships beside what it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from variantforge.spec.yaml_events import KeyPath

PARITY, OFF = "parity", "off"


def is_implied(evaluate: Mapping[str, Any]) -> bool:
    """Whether the section ``evaluate``, as it is written, says nothing of parity: neither its own entry nor ``off``."""
    return PARITY not in evaluate and PARITY not in map(_evaluator, evaluate.values())


def complaints(evaluate: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """What else is called parity, and what else is switched off."""
    for name, one in evaluate.items():
        evaluator = _evaluator(one)
        if evaluator == OFF and name != PARITY:
            yield ("evaluate", name), f"'off' is for {PARITY} alone, which every family has: remove this entry"
        other = isinstance(one, Mapping) and isinstance(evaluator, str)  # any other text is no entry at all
        if name == PARITY and other and evaluator not in (PARITY, OFF):
            yield ("evaluate", name), f"'{PARITY}' is the evaluation that every family has: give this one another name"


def _evaluator(one: Any) -> Any:
    """Of an entry as it is written, or as it was read."""
    if isinstance(one, Mapping):
        return one.get("evaluator")
    return one if isinstance(one, str) else getattr(one, "evaluator", None)
