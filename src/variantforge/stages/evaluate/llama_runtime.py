"""What llama.cpp itself says of a GGUF file: the next tokens it expects after given contexts.

It runs in a process of its own (``llama_server``): a file that makes it abort fails one step and nothing else, its
printing stays there, and its memory is given back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import EvaluateError, Interrupted
from variantforge.stages.llama_server import how_it_died, served

if TYPE_CHECKING:
    import httpx2

TOP = 10  # tokens compared at each position
Expectation = dict[int, float]  # token id -> log-probability, of the TOP likeliest tokens

# The token that comes out is forced to be a letter: the server leaves log-probabilities out for half a character.
# They are those of the model, before any bias.
_ONE_TOKEN = {"n_predict": 1, "n_probs": TOP, "temperature": 0.0, "logit_bias": [["a", 1e4]], "cache_prompt": True}
_MARGIN = 8  # tokens of the window beyond the longest context
_PATIENCE_S = 3600.0  # a long context of a large model on a small machine
_REMEDY = "quantize this variant again; if it stays so, leave the format out of 'quantize'"


def next_tokens(
    model: Path,
    contexts: Sequence[Sequence[int]],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stopping: Callable[[], bool] = lambda: False,
    lora: Path | None = None,
) -> list[Expectation]:
    """The likeliest next tokens after each context (token ids, taken as they are: no BOS is added).

    ``lora``: an adapter's GGUF file, loaded onto ``model``.
    Contexts that continue one another should follow one another: the shared beginning is computed once.
    Raises EvaluateError when xllamacpp is missing, or llama.cpp cannot load or run the file.
    """
    import httpx2

    longest = max(map(len, contexts))
    found: list[Expectation] = []
    with (
        served(model, longest + _MARGIN, lora=lora, failure=EvaluateError, remedy=_REMEDY) as (socket, process),
        httpx2.Client(
            transport=httpx2.HTTPTransport(uds=socket), base_url="http://localhost", timeout=_PATIENCE_S
        ) as client,
    ):
        for context in contexts:
            try:
                found.append(_expectation(client, context))
            except (httpx2.TransportError, ValueError, LookupError) as error:
                why = how_it_died(process) or f"{type(error).__name__}: {error}"
                raise EvaluateError(f"llama.cpp cannot run {model.name}", why=why, next=_REMEDY) from error
            progress(len(found), len(contexts))
            if stopping():
                raise Interrupted("stopped while llama.cpp was measured", next="run the same command again")
    return found


def _expectation(client: httpx2.Client, context: Sequence[int]) -> Expectation:
    """Raises ValueError with what the server says against a context."""
    told: dict[str, Any] = client.post("/completion", json={"prompt": list(context), **_ONE_TOKEN}).json()
    if "error" in told:
        raise ValueError(told["error"].get("message", told["error"]))
    top = told["completion_probabilities"][0]["top_logprobs"]
    return {int(one["id"]): nan if one["logprob"] is None else float(one["logprob"]) for one in top}
