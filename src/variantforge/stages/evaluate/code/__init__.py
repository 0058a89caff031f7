"""Programs that a subject writes, graded in the sandbox by their tests.

params      what a user may write beside ``evaluator: code``
items       problems of HumanEval and of files of the user's
programs    prompts in two modes, and how an answer becomes a program
passk       pass@k without bias
evaluator   the measurement
"""
