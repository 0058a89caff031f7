"""Tasks of EleutherAI's lm-evaluation-harness, scored by our own batched log-likelihoods.

``harness`` finds the task files of the installed package, ``tasks`` reads what a family file asks for (all that a plan
needs, without importing the harness), ``prefixes`` and ``shared`` score, ``model`` is the language model that the
harness asks, ``items`` makes its outcomes rows, ``evaluator`` puts it together.
"""
