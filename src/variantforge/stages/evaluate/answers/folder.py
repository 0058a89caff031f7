"""Answers of a transformers folder: prompts of similar length in one batch, padded on the left.

Batches are made from all that is asked, whatever an earlier try has answered already, so that what a kill left over
is answered as it would have been. Stop tokens are those of the folder's generation_config.json.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import DataError, EvaluateError, Interrupted
from variantforge.stages.evaluate.again import batch_limit
from variantforge.stages.evaluate.answers.form import Answer, Ask, Prompt, Sampling

if TYPE_CHECKING:
    import torch

# Tokens of a batch, prompts and answers. SmolLM2-135M keeps 46 kB of keys and values a token in float32, an 8B model
# 131 kB in bfloat16: 0.4 GB and 4.3 GB.
_CPU_BATCH_TOKENS, _BATCH_TOKENS = 8192, 32768
_CPU_ROWS, _ROWS = 16, 64
_TAIL = 8  # tokens before an answer that decide how its first is written: a space or none

Running = Callable[[float], None]


@dataclass(frozen=True)
class Row:
    """``ids``: the prompt. ``most``: tokens that may follow it."""

    ask: Ask
    ids: list[int]
    most: int


def answers(
    asks: Sequence[Ask],
    wanted: Collection[str],
    folder: Path,
    *,
    dtype: str,
    stopping: Callable[[], bool] = lambda: False,
    running: Running = lambda part: None,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[Ask, Answer]]:
    """In batches; batches without an ask whose key is ``wanted`` are passed over. ``running`` is told how many answers
    of the batch at hand have ended. Raises EvaluateError, Interrupted."""
    from variantforge.stages.models import device, load_model, quiet
    from variantforge.stages.tokens import load_tokenizer

    tokenizer = load_tokenizer(folder)
    where = device()
    with quiet():
        model = load_model(folder, dtype=dtype, device=str(where))
        writer = Writer(model, tokenizer, stopping, running)
        rows = _rows(tokenizer, asks, writer.window)
        budget = (_CPU_BATCH_TOKENS, _CPU_ROWS) if where.type == "cpu" else (_BATCH_TOKENS, _ROWS)
        for batch in batches(rows, *map(batch_limit, budget)):
            if any(row.ask.key in wanted for row in batch):
                yield from _written(writer, batch, note)


def batches(rows: Sequence[Row], most_tokens: int, most_rows: int) -> Iterator[list[Row]]:
    """Longest first, so that memory is needed at once or not at all."""
    batch: list[Row] = []
    longest = 0
    for row in sorted(rows, key=lambda row: (-len(row.ids), row.ask.prompt.id, row.ask.sample)):
        length = max(longest, len(row.ids) + row.most)
        if batch and (len(batch) == most_rows or (len(batch) + 1) * length > most_tokens):
            yield batch
            batch, length = [], len(row.ids) + row.most
        batch, longest = [*batch, row], length
    if batch:
        yield batch


def _rows(tokenizer: Any, asks: Sequence[Ask], window: int | None) -> list[Row]:
    prompts: dict[str, list[int]] = {}
    rows = []
    for ask in asks:
        ids = prompts.get(ask.prompt.id) or prompts.setdefault(ask.prompt.id, _ids(tokenizer, ask.prompt))
        most = ask.sampling.max_new_tokens
        if window:
            if len(ids) >= window:
                raise EvaluateError(
                    f"the prompt of item {ask.prompt.id} does not fit into the model",
                    why=f"It has {len(ids):,} tokens, and the model reads {window:,}.",
                    next="take the item out of the suite, or measure a model with a longer context",
                )
            most = min(most, window - len(ids))
        rows.append(Row(ask, ids, most))
    return rows


def _ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    from variantforge.stages.tokens import tokenize_prompt

    if prompt.text:
        return list(tokenizer(prompt.text).input_ids)
    try:
        return tokenize_prompt(tokenizer, prompt.messages, prompt.tools or None, name=f"item {prompt.id}")
    except DataError as error:
        raise EvaluateError(error.what, why=error.why, next=error.next) from error


def _written(writer: Writer, batch: list[Row], note: Callable[[str], None]) -> Iterator[tuple[Ask, Answer]]:
    """A batch that does not fit into the accelerator's memory is answered in two halves."""
    import torch

    try:
        texts = writer.write(batch)
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise EvaluateError(
                f"item {batch[0].ask.prompt.id} does not fit into memory even alone",
                why=str(error),
                next="lower max_new_tokens, or measure on a larger machine",
            ) from error
        texts = None  # what the failed try holds is given back before the next
    if texts is None:
        note(f"{len(batch)} answers at a time do not fit into memory: asked in two halves")
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            yield from _written(writer, half, note)
    else:
        yield from zip((row.ask for row in batch), texts, strict=True)


class Writer:
    """A loaded model that answers batches."""

    def __init__(self, model: Any, tokenizer: Any, stopping: Callable[[], bool], running: Running) -> None:
        from transformers import GenerationConfig

        self.model, self.tokenizer, self.stopping, self.running = model, tokenizer, stopping, running
        self.stop_ids = _stop_ids(model.generation_config, tokenizer)
        model.generation_config = GenerationConfig()  # its other settings are not part of what is measured
        self.window: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def write(self, batch: Sequence[Row]) -> list[Answer]:
        """One answer to each row. Raises Interrupted when the user asks to stop."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        longest, sampling = max(len(row.ids) for row in batch), batch[0].ask.sampling
        pad = self.stop_ids[0]
        ids = torch.tensor([[pad] * (longest - len(row.ids)) + row.ids for row in batch])
        mask = torch.tensor([[0] * (longest - len(row.ids)) + [1] * len(row.ids) for row in batch])
        watch = _watch(self, batch, longest)
        settings = GenerationConfig(
            max_new_tokens=max(row.most for row in batch), do_sample=False, eos_token_id=self.stop_ids, pad_token_id=pad
        )
        with torch.inference_mode():
            made = self.model.generate(
                ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                generation_config=settings,
                logits_processor=LogitsProcessorList([_draw(batch, sampling)] if sampling.temperature else []),
                stopping_criteria=StoppingCriteriaList([watch]),
            )
        return [self._answer(row, one[longest:].tolist()) for row, one in zip(batch, made, strict=True)]

    def text_after(self, row: Row, ids: Sequence[int]) -> str:
        """What ``ids`` add to the prompt's text: a first space that a tokenizer drops at a beginning is kept."""
        before = row.ids[-_TAIL:]
        whole, start = self._decoded([*before, *ids]), self._decoded(before)
        return whole[len(start) :] if whole.startswith(start) else self._decoded(ids)

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _answer(self, row: Row, ids: Sequence[int]) -> Answer:
        ended = next((at for at, token in enumerate(ids) if token in self.stop_ids), None)
        within = ids[: row.most] if ended is None or ended >= row.most else ids[:ended]
        text = self.text_after(row, within)
        found = [at for stop in row.ask.sampling.stop if (at := text.find(stop)) >= 0]
        if found:
            return Answer(text[: min(found)], self._tokens_to(row, within, min(found)), "stop")
        if ended is not None and ended < row.most:
            return Answer(text, ended + 1, "stop")
        return Answer(text, len(within), "length")

    def _tokens_to(self, row: Row, ids: Sequence[int], end: int) -> int:
        """How many tokens were written until the text went on beyond ``end``: where the row was left."""
        return next((n for n in range(1, len(ids)) if len(self.text_after(row, ids[:n])) > end), len(ids))


def _stop_ids(generation: Any, tokenizer: Any) -> list[int]:
    named = generation.eos_token_id if generation.eos_token_id is not None else tokenizer.eos_token_id
    ids = [token for token in (named if isinstance(named, list) else [named]) if token is not None]
    if not ids:
        raise EvaluateError(
            "the model names no token that ends an answer",
            why="Neither generation_config.json nor the tokenizer has an eos token; no answer would ever end.",
            next="give the base an eos_token, then build it again",
        )
    return ids


def _draw(batch: Sequence[Row], sampling: Sampling) -> Any:
    """Leaves each row one token, drawn by the row's own random numbers: what else is in the batch changes nothing."""
    import torch
    from transformers import LogitsProcessor

    numbers = [random.Random(row.ask.seed) for row in batch]

    class Draw(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            probabilities = torch.softmax(scores.float() / sampling.temperature, dim=-1)
            order = None
            if sampling.top_p < 1:
                probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
                before = probabilities.cumsum(dim=-1) - probabilities
                probabilities = probabilities.where(before < sampling.top_p, 0.0)  # the fewest that reach top_p
            sums = probabilities.cumsum(dim=-1)
            at = torch.tensor([[one.random()] for one in numbers], device=scores.device) * sums[:, -1:]
            place = torch.searchsorted(sums, at, right=True).clamp(max=scores.shape[-1] - 1)
            chosen = place if order is None else order.gather(1, place)
            return torch.full_like(scores, float("-inf")).scatter(1, chosen, 0.0)

    return Draw()


def _watch(writer: Writer, batch: Sequence[Row], start: int) -> Any:
    """Ends rows at their limits and stop texts, says how many have ended, and stops when the user asks to."""
    import torch
    from transformers import StoppingCriteria

    stops = batch[0].ask.sampling.stop
    tail = max((len(stop) for stop in stops), default=0) + _TAIL
    ended = [False] * len(batch)

    class Watch(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            if writer.stopping():
                raise Interrupted("stopped while answers were written", next="run the same command to go on")
            length = input_ids.shape[1] - start
            last = input_ids[:, max(start, input_ids.shape[1] - tail) :].tolist()
            before = sum(ended)
            for at, row in enumerate(batch):
                ended[at] = ended[at] or length >= row.most or last[at][-1] in writer.stop_ids
                if stops and not ended[at]:
                    text = writer.text_after(row, last[at]) if length <= tail else writer._decoded(last[at])
                    ended[at] = any(stop in text for stop in stops)
            if sum(ended) > before:
                writer.running(sum(ended))
            return torch.tensor(ended, device=input_ids.device)

    return Watch()
