"""All gates of a release beside each other: which refutations hold among so many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from variantforge.stages.gate.holm import adjusted
from variantforge.stages.gate.verdict import NOT_ENOUGH, TAIL
from variantforge.step import Artifact


def judge_release(gates: Mapping[str, Artifact]) -> dict[str, Any]:
    """Facts of ``gate/-/family``: every verdict with its place and ``p_holm``, what came of it among all, and how many
    there are of each. ``alone``: what its own gate said. Inputs come as ``VARIANT:SUBJECT``."""
    rows = [
        {"variant": role.partition(":")[0], "subject": role.partition(":")[2], **verdict}
        for role, gate in gates.items()
        for verdict in gate.facts["verdicts"]
    ]
    judged = [
        {**row, "alone": row["verdict"], "p_holm": p, "verdict": among_all(row["verdict"], p)}
        for row, p in zip(rows, adjusted([row["p"] for row in rows]), strict=True)
    ]
    counts = Counter(row["verdict"] for row in judged)
    told = {word: counts[word] for word in ("pass", "fail", NOT_ENOUGH)}
    return {"level": round(TAIL, 6), "gates": len(judged), "outcomes": told, "verdicts": judged}


def among_all(alone: str, p_holm: float) -> str:
    """A refutation that Holm's correction does not bear out says only that more data is needed."""
    return NOT_ENOUGH if alone == "fail" and p_holm > TAIL + 1e-12 else alone
