"""Pairwise comparison: a judge says which of two answers to one prompt is better.

judging      our question to a judge, its verdict read strictly, two verdicts with positions swapped made one outcome
strengths    many pairwise outcomes made one scale (Bradley-Terry), with intervals
evaluator    the evaluation
"""
