"""The noise floor: how much a metric moves when the very same file is measured again, in other batches.

Sums in floating point depend on their order, and so do answers where two tokens are nearly as likely: figures of one
file measured twice can differ by points (Yuan et al., "Understanding and Mitigating Numerical Sources of
Nondeterminism in LLM Inference", arXiv:2506.09501). A gate whose margin is smaller than that judges the measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any

from variantforge.stages.evaluate.again import AGAIN
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.evaluate.statistics import LEVEL


def floor_of(metric: Metric, first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> float:
    """How far two measurements of one file may lie apart: their distance, or 1.64 standard errors of it if larger."""
    import numpy as np

    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a.get(metric.per) and b.get(metric.per)]
    sums = np.array([[a[metric.total], a[metric.per], b[metric.total], b[metric.per]] for a, b in pairs], dtype=float)
    total = sums.sum(axis=0)
    ratio = np.array([total[0] / total[1], total[2] / total[3]])
    slope = np.exp(ratio) if metric.scale == "exp" else np.ones(2)
    value = np.exp(ratio) if metric.scale == "exp" else ratio
    influence = slope[0] * (sums[:, 0] - ratio[0] * sums[:, 1]) / total[1]
    influence -= slope[1] * (sums[:, 2] - ratio[1] * sums[:, 3]) / total[3]
    error = sqrt(float((influence**2).sum()))
    return float(max(abs(value[0] - value[1]), NormalDist().inv_cdf(LEVEL) * error))


__all__ = ["AGAIN", "floor_of"]
