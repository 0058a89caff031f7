"""What is asked, how answers are drawn, and what comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from variantforge.hashing import key_of
from variantforge.stages.evaluate.answers.message import message_of
from variantforge.stages.tokens.template import Message


@dataclass(frozen=True)
class Prompt:
    """``messages`` are written by the subject's own chat template; a ``text`` is gone on from as it stands.

    ``id`` is the item's: errors name it, and random numbers hang on it.
    """

    id: str
    messages: Sequence[Message] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    text: str = ""

    def __post_init__(self) -> None:
        if bool(self.messages) == bool(self.text):
            raise ValueError(f"item {self.id}: a prompt has messages or a text")


@dataclass(frozen=True)
class Sampling:
    """Greedy at temperature 0. ``stop``: texts that end an answer, and are not part of it; beside the model's own stop
    tokens. Settings of the model's generation_config (penalties, temperature, top_k) are left out: they are not those
    of other runtimes, and answers of two subjects are to differ by the subjects alone."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    samples: int = 1
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.samples > 1 and not self.temperature:
            raise ValueError("without a temperature, all samples are one answer")


@dataclass(frozen=True)
class Answer:
    """``text``: all that was written, control tokens as their names, but for the token or text that ended it.
    ``tokens``: how many were written, that one included. ``finish``: whether the model ended it, or the limit did."""

    text: str
    tokens: int
    finish: Literal["stop", "length"]

    @cached_property
    def message(self) -> dict[str, Any]:
        """The text as an assistant's message: ``content``, and ``reasoning_content`` and ``tool_calls`` if any."""
        return message_of(self.text)


@dataclass(frozen=True)
class Ask:
    """One answer that is wanted: the ``sample``-th to a prompt."""

    prompt: Prompt
    sampling: Sampling
    sample: int

    @cached_property
    def key(self) -> str:
        """The hash of all that the answer depends on, but for the model."""
        told = asdict(self.sampling) | {"samples": self.sample, "stop": list(self.sampling.stop)}
        return key_of([self.prompt.id, list(self.prompt.messages), list(self.prompt.tools), self.prompt.text, told])

    @cached_property
    def seed(self) -> int:
        """32 bits of its own, so that neither order nor batch decides what is drawn."""
        text = f"{self.sampling.seed}:{self.sample}:{self.prompt.id}"
        return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big")
