"""Doing one step without a plan or a store: what tests of a single stage use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from variantforge.stages.stage import Stage
from variantforge.step import Artifact, Step, StepContext


def do_step(
    stage: Stage, step: Step, root: Path, inputs: Mapping[str, Artifact] | None = None, **context: Any
) -> Artifact:
    """Runs ``stage.do`` under ``root`` and returns the artifact (no manifest is written)."""
    out, scratch = root / step.stage / step.key, root / "scratch" / step.key
    out.mkdir(parents=True)
    scratch.mkdir(parents=True, exist_ok=True)
    stage.do(StepContext(step=step, inputs=inputs or {}, out=out, scratch=scratch, **context))
    return Artifact(step.key, out)
