"""Rows that a teacher writes: its answers to the prompts of another dataset.

planning    the step: who answers, what is asked; laid out without a word to anybody
asking      how much that is, in words for people
questions   prompts -> questions, each with the hash under which its answer is kept
kept        answers as they come, on disk at once: a kill loses none that has arrived
endpoint    an OpenAI-compatible server is asked, at a pace, with patience
local       a model folder, through transformers
writing     the step itself
"""
