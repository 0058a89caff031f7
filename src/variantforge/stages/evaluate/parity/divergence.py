"""What quantizing changed of the predictions: KL divergence, flips and perplexity beside the merged model, per token.

The tokens are those of held-out answers, as the chat template writes them, the same for every subject. Where a family
holds nothing out, rows that were trained on stand in, and where no row has an answer, chats of our own: the facts say
which (``rows``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from variantforge.stages.evaluate.heldout import Example, HeldOut, tokenized
from variantforge.stages.evaluate.likelihood import Score
from variantforge.stages.evaluate.parity.conversations import CONVERSATIONS
from variantforge.stages.rows import HELDOUT, TRAIN, as_answered, read_rows
from variantforge.step import StepContext

_TRAINED_ON = 2_000  # rows of training data that are looked at
_DIGITS = 6


def read_examples(
    context: StepContext, tokenizer: Any, stop_ids: Sequence[int], *, max_examples: int, max_length: int
) -> tuple[HeldOut, str]:
    """What is measured, and what it is: ``held out``, ``trained on`` or ``made``."""
    limits = {"max_examples": max_examples, "max_length": max_length}
    for name, file in (("held out", HELDOUT), ("trained on", TRAIN)):
        answered = filter(None, map(as_answered, islice(read_rows(context.inputs["data"].path / file), _TRAINED_ON)))
        found = tokenized(answered, tokenizer, stop_ids, **limits)
        if found.examples:
            return found, name
    return _made(tokenizer, **limits), "made"


def _made(tokenizer: Any, *, max_examples: int, max_length: int) -> HeldOut:
    """The plain chats of ``conversations``, all of their tokens; without a chat template, what is said in them."""
    examples = []
    for chat in [chat for chat in CONVERSATIONS if not chat.wants][:max_examples]:
        text = "\n".join(str(message["content"]) for message in chat.messages)
        if tokenizer.chat_template:
            text = str(
                tokenizer.apply_chat_template([dict(m) for m in chat.messages if m["role"] != "system"], tokenize=False)
            )
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])[:max_length]
        if len(ids) > 1:
            examples.append(Example(f"made:{chat.name}", "", ids, list(range(1, len(ids)))))
    return HeldOut(examples, 0, 0)


def end_of(example: Example, score: Score, stop_ids: Collection[int]) -> dict[str, int]:
    """``answers`` and ``ended``: whether, behind a whole answer, the likeliest token is the one that ends it.

    Asks for the distribution at the last target, which ``score`` must have kept last. {} where the answer was cut.
    """
    if example.ids[example.targets[-1]] not in stop_ids or score.kept is None:
        return {}
    return {"answers": 1, "ended": int(int(score.kept[-1].argmax()) in stop_ids)}


def row_of(example: Example, score: Score) -> dict[str, Any]:
    """One line of ``examples.jsonl``: sums over the example's measured tokens."""
    assert score.kl is not None  # a reference was there
    assert score.reference_nll is not None
    return {
        "id": example.id,
        "source": example.source,
        "tokens": score.tokens,
        "kl": round(score.kl, _DIGITS),
        "same_top": score.same_top,
        "flips": score.flips,
        "nll_more": round(score.nll - score.reference_nll, _DIGITS),
    }


def tail(scores: Sequence[Score]) -> Mapping[str, Any]:
    """The 99.9 % quantile of KL over tokens, and the largest, in nats: a quantile is no mean, so it is a fact."""
    import numpy as np

    kls = np.array([kl for score in scores for kl in score.kls or ()])
    return {
        "kl_999": round(float(np.quantile(kls, 0.999)), _DIGITS),
        "kl_max": round(float(kls.max()), _DIGITS),
        "tokens": len(kls),
    }
