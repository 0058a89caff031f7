"""Does an answer have the form that was asked for? Counted by rules, without another model.

checks      what is wrong with one answer: left-over control tokens, a loop, no JSON, the wrong call
suite       our own prompts
evaluator   the evaluation
"""
