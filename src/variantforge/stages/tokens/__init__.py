"""Rows -> token ids, and which of them are learned from; proven, row by row, before anything is trained.

Of a chat, the assistant's turns are supervised: from where the generation prompt ends, through reasoning, answer and
tool calls as far as the template writes them, to the stop token that ends the turn. Everything else is not. Where
turns lie is found on the *rendered text* (``turns``, ``outline``), which is then tokenized once, as it will be at
inference; characters become tokens by their offsets (``rows``), and the outcome is proven anew (``proof``).

Nothing is kept between runs: outlines live in memory, under the template's own text.
"""

from variantforge.stages.tokens.completions import tokenize_completion, tokenize_prompt
from variantforge.stages.tokens.proof import prove_supervision
from variantforge.stages.tokens.rows import Tokens, load_tokenizer, tokenize_row

__all__ = ["Tokens", "load_tokenizer", "prove_supervision", "tokenize_completion", "tokenize_prompt", "tokenize_row"]
