"""The language model that the harness asks: our log-likelihoods, and answers in the runtime that users will run.

Text becomes tokens as in the harness's own backend for transformers, so that scores are the same.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variantforge.errors import DataError, EvaluateError, Interrupted
from variantforge.stages.evaluate.answers import Prompt, Sampling, answers
from variantforge.stages.evaluate.lm_eval.kept import Kept
from variantforge.stages.evaluate.lm_eval.prefixes import Request
from variantforge.stages.evaluate.lm_eval.scores import Scored
from variantforge.stages.evaluate.lm_eval.shared import Likelihoods
from variantforge.stages.tokens import load_tokenizer
from variantforge.step import StepContext

_DEFAULT_ANSWER = 256  # tokens, where a task does not say
_KNOWN = ("until", "do_sample", "temperature", "top_p", "max_gen_toks")


class Chat(str):
    """A rendered chat that still knows its messages, so that a GGUF file's own template writes it there."""

    messages: list[dict[str, Any]]


@dataclass
class Loading:
    """How to get the model, its tokenizer's folder, and how it is used."""

    model: Callable[[], Any]
    tokenizer: Path
    config: Any
    dtype: str
    max_length: int | None = None
    seed: int = 0


def subject_of(context: StepContext, loading: Loading) -> Any:
    """The subject of a step, as the harness's ``LM``."""
    from lm_eval.api.model import TemplateLM

    class Subject(Asked, TemplateLM):  # type: ignore[misc]
        pass

    return Subject(context, loading)


class Asked:
    """What the harness's ``TemplateLM`` leaves to its subclasses; ``loglikelihood`` is its own."""

    backend = "causal"

    def __init__(self, context: StepContext, loading: Loading) -> None:
        from lm_eval.models.utils import resolve_max_length

        super().__init__()
        self._context, self._loading = context, loading
        self.tokenizer: Any = load_tokenizer(loading.tokenizer)
        self.max_length: int = loading.max_length or resolve_max_length(loading.config, self.tokenizer)
        self.tokens_read = 0

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has nothing before it."""
        first = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if first is None else first)

    @property
    def tokenizer_name(self) -> str:
        return "subject"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        from lm_eval.models.utils import has_bos_prefix

        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        told = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **told))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        from variantforge.stages.tokens.template import on_one_day

        template = self.tokenizer.chat_template
        if not template:
            raise EvaluateError(
                "the model has no chat template, and the evaluation asks for one",
                next="leave apply_chat_template out, or give the base a chat_template.jinja",
            )
        try:
            text = Chat(
                self.tokenizer.apply_chat_template(
                    chat_history,
                    chat_template=on_one_day(self.tokenizer.get_chat_template()),
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    continue_final_message=not add_generation_prompt,
                )
            )
        except (ValueError, DataError) as error:
            raise EvaluateError("the chat template refuses a question", why=str(error)) from error
        text.messages = [dict(message) for message in chat_history] if add_generation_prompt else []
        return text

    # --- log-likelihoods ----------------------------------------------------------------------------------------

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        wanted = [Request(tuple(context), tuple(continuation)) for _, context, continuation in requests]
        return [(one.logprob, one.greedy) for one in self._scored(wanted)]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Whole texts, in windows that do not overlap but for the token that each begins with."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        windows: list[Request] = []
        of: list[int] = []
        for place, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            for window in get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, 1):
                context, told = make_disjoint_window(window)
                windows.append(Request(tuple(context), tuple(told)))
                of.append(place)
        sums = [0.0] * len(requests)
        for place, scored in zip(of, self._scored(windows), strict=True):
            sums[place] += scored.logprob
        return sums

    def _scored(self, requests: Sequence[Request]) -> list[Scored]:
        """Those that an earlier try has scored are read back."""
        kept, asked = Kept(self._context.scratch), list(dict.fromkeys(requests))
        known = {place: one for place, request in enumerate(asked) if (one := kept.get(request)) is not None}
        scores = list(known.values()) if len(known) == len(asked) else self._score(asked, kept, known)
        found = dict(zip(asked, scores, strict=True))
        return [found[request] for request in requests]

    def _score(self, asked: Sequence[Request], kept: Kept, known: Mapping[int, Scored]) -> list[Scored]:
        likelihoods, done = Likelihoods(self._loading.model(), self.max_length, self._context.note), set(known)

        def answered(scores: dict[int, Scored]) -> None:
            kept.add({asked[place]: one for place, one in scores.items()})
            done.update(scores)
            self._context.progress(len(done), len(asked), "request")
            if self._context.stopping():
                raise Interrupted("stopped while measuring", next="run the same command to go on")

        try:
            return likelihoods.score(asked, answered, known)
        except ValueError as error:
            raise EvaluateError("a request does not fit into the model", why=str(error)) from error
        finally:
            self.tokens_read += likelihoods.tokens_read
            del likelihoods
            gc.collect()  # answers load the model anew, or llama.cpp does

    # --- answers ------------------------------------------------------------------------------------------------

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers of the runtime that users will run: llama.cpp for a GGUF file, else transformers."""
        asked: dict[Sampling, dict[str, list[int]]] = {}
        prompts: dict[str, Prompt] = {}
        for place, request in enumerate(requests):
            text, told = request.args[:2]
            prompt = self._prompt(f"{request.task_name}/{request.doc_id}", text)
            prompts[prompt.id] = prompt
            asked.setdefault(self._sampling(told, prompt.id), {}).setdefault(prompt.id, []).append(place)
        found: dict[int, str] = {}
        for sampling, places in asked.items():
            samples = max(map(len, places.values())) if sampling.temperature else 1
            drawn = Sampling(**{**sampling.__dict__, "samples": samples})
            written = answers(self._context, [prompts[id] for id in places], drawn, dtype=self._loading.dtype)  # type: ignore[arg-type]
            for waiting, texts in zip(places.values(), written, strict=True):
                found |= {place: self._plain(texts[at % samples].text) for at, place in enumerate(waiting)}
        return [found[place] for place in range(len(requests))]

    def _prompt(self, id: str, text: str) -> Prompt:
        if isinstance(text, Chat) and text.messages:
            return Prompt(id, messages=text.messages)
        first = self.tokenizer.bos_token
        if first and text.startswith(first) and self.tokenizer(" ").input_ids[:1] == [self.tokenizer.bos_token_id]:
            text = text.removeprefix(first)  # it will be added again
        return Prompt(id, text=text)

    def _sampling(self, told: dict[str, Any], id: str) -> Sampling:
        from lm_eval.models.utils import normalize_gen_kwargs

        wanted = normalize_gen_kwargs(told, _DEFAULT_ANSWER)
        if unknown := sorted(wanted.keys() - set(_KNOWN)):
            raise EvaluateError(
                f"item {id} asks for generation settings that are not known here: {', '.join(unknown)}",
                next=f"set gen_kwargs with {', '.join(_KNOWN)} alone, or leave the task out",
            )
        return Sampling(
            max_new_tokens=int(wanted["max_gen_toks"]),
            temperature=float(wanted["temperature"]) if wanted["do_sample"] else 0.0,
            top_p=float(wanted.get("top_p", 1.0)),
            seed=self._loading.seed,
            stop=tuple(stop for stop in wanted["until"] if stop),
        )

    def _plain(self, text: str) -> str:
        """Without the names of control tokens, as the harness's backend hands answers over."""
        for name in self.tokenizer.all_special_tokens:
            text = text.replace(name, "")
        return text
