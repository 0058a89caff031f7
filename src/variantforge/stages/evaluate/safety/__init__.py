"""Does a variant still refuse what it should, and only that?

suite       our own requests, harmful and harmless, in pairs of kinds; mild in wording
coherence   whether an answer can be understood at all: looked at before anything else
refusals    a refusal known by its words, in a dozen languages
judging     the same question put to another model
evaluator   the evaluation
"""
