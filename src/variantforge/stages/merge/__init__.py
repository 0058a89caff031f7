"""Folding what was trained into its base, and proving it."""

from __future__ import annotations

from variantforge.stages.merge.stage import STAGE

__all__ = ["STAGE"]
