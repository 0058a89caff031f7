"""pass@k: how likely one of k programs is right."""

from __future__ import annotations

from math import prod


def pass_at_k(samples: int, right: int, k: int) -> float:
    """``1 - C(n - c, k) / C(n, k)``: the chance that k of n programs, drawn without putting back, hold one of the c
    that are right. Unbiased, which ``1 - (1 - c/n)^k`` is not.

    M. Chen et al., "Evaluating Large Language Models Trained on Code" (arXiv:2107.03374), section 2.1.
    """
    if not 1 <= k <= samples or not 0 <= right <= samples:
        raise ValueError(f"no pass@{k} of {right} right among {samples}")
    wrong = samples - right
    if wrong < k:
        return 1.0
    return 1.0 - prod(1.0 - k / n for n in range(wrong + 1, samples + 1))
