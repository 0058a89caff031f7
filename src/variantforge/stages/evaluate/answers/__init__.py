"""Answers of a subject to prompts, in the runtime that its users will run.

form      what is asked, how answers are drawn, what comes back
asking    ``answers``: asks what is not answered yet; keeps each answer on disk as it comes
folder    a transformers folder, in batches
gguf      a GGUF file, by llama.cpp's own server
message   the text of an answer as an assistant's message: reasoning, content, tool calls
"""

from variantforge.stages.evaluate.answers.asking import answers
from variantforge.stages.evaluate.answers.form import Answer, Prompt, Sampling

__all__ = ["Answer", "Prompt", "Sampling", "answers"]
