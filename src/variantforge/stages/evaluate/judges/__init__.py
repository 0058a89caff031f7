"""A model that judges answers: a model folder, a GGUF file, or one behind an OpenAI-compatible endpoint.

spec        who judges, as a user writes it
planning    its pins, its step, what of it enters keys and what does not
asking      questions put to it, each answered once and kept
"""
