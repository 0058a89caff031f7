"""A model folder as a teacher, through transformers: questions in batches of equal make-up in every run.

A batch is answered whole, under a seed of its own: so what a kill left over gets the same answers that an undisturbed
run would have given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from variantforge.errors import Interrupted
from variantforge.stages.data.teacher.kept import Answer
from variantforge.stages.data.teacher.questions import Question
from variantforge.stages.models import device, load_model, quiet
from variantforge.stages.tokens import load_tokenizer, tokenize_prompt

BATCH = 8
_THOUGHT = "</think>"


class Local:
    """``stop_ids``: each of them ends an answer. ``known``: keys of questions that need no answer any more."""

    def __init__(
        self, folder: Path, stop_ids: Collection[int], known: Callable[[str], bool], stopping: Callable[[], bool]
    ) -> None:
        self._folder, self._stop_ids, self._known, self._stopping = folder, list(stop_ids), known, stopping

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        """Of all ``questions``, the known ones too, in batches of similar length; batches without an open one are
        passed over. Raises Interrupted when the user asks to stop."""
        tokenizer = load_tokenizer(self._folder)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        asked = [(tokenize_prompt(tokenizer, question.messages), question) for question in questions]
        asked.sort(key=lambda each: (len(each[0]), each[1].key))
        with quiet():
            model: Any = None
            for at in range(0, len(asked), BATCH):
                batch = asked[at : at + BATCH]
                if all(self._known(question.key) for _, question in batch):
                    continue
                model = model or _loaded(self._folder)
                told = self._generated(model, tokenizer, [ids for ids, _ in batch], batch[0][1])
                yield from zip((question for _, question in batch), told, strict=True)
                if self._stopping():
                    raise Interrupted("stopped while answers were written", next="run the same command to go on")

    def _generated(self, model: Any, tokenizer: Any, prompts: list[list[int]], first: Question) -> list[Answer]:
        import torch

        length = max(map(len, prompts))
        ids = torch.tensor([[tokenizer.pad_token_id] * (length - len(one)) + one for one in prompts])
        mask = torch.tensor([[0] * (length - len(one)) + [1] * len(one) for one in prompts])
        sampling: dict[str, Any] = {"do_sample": False}
        if first.temperature:
            sampling = {"do_sample": True, "temperature": first.temperature, "top_p": first.top_p, "top_k": 0}
        torch.manual_seed(int(first.key[:8], 16) + first.seed)
        with torch.no_grad():
            made = model.generate(
                ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=first.max_tokens,
                eos_token_id=self._stop_ids,
                pad_token_id=tokenizer.pad_token_id,
                **sampling,
            )
        return [self._answer(tokenizer, one[length:].tolist()) for one in made]

    def _answer(self, tokenizer: Any, ids: list[int]) -> Answer:
        end = next((at for at, token in enumerate(ids) if token in self._stop_ids), None)
        text = str(tokenizer.decode(ids[:end], skip_special_tokens=True))
        thought, mark, said = text.rpartition(_THOUGHT)
        reasoning = {"reasoning_content": thought.replace("<think>", "").strip()} if mark and thought.strip() else {}
        return {"content": said if mark else text, "finish": "length" if end is None else "stop", **reasoning}


def _loaded(folder: Path) -> Any:
    where = device()
    return load_model(folder, dtype="float32" if where.type == "cpu" else "bfloat16").to(where)
