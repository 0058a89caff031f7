"""All gates of a release in a line, and what is said otherwise of them together than of one alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from variantforge.cli.words import counted

if TYPE_CHECKING:
    from variantforge.cli.opening import Opened


def release_gates(opened: Opened) -> dict[str, Any] | None:
    """What ``gate/-/family`` found, when it was done."""
    from variantforge.stages import Place

    key = opened.plan.places.get(Place("gate", None, "family"))
    artifact = opened.store.find(opened.plan.steps[key]) if key else None
    return artifact.facts if artifact else None


def gates_told(facts: Mapping[str, Any]) -> Iterator[str]:
    """``24 gates: 21 pass, 1 fail, 2 not enough data``, and each that fails alone, but not among so many."""
    counts = facts["outcomes"]
    outcomes = [f"{counts[word]} {word}" for word in ("pass", "fail", "not enough data") if counts[word]]
    yield f"{counted(facts['gates'], 'gate')} of the release: {', '.join(outcomes)}"
    for row in facts["verdicts"]:
        if row["alone"] == "fail" and row["verdict"] != "fail":
            yield (
                f"{row['metric']} of {row['variant']} {row['subject']} fails alone (p = {row['p']:.2g}), "
                f"not among {facts['gates']} (Holm: {row['p_holm']:.2g}): measure more"
            )
