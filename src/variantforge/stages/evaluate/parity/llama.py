"""A GGUF file in llama.cpp: text to tokens, chats to text, and which tokens end an answer. By its own server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import EvaluateError
from variantforge.stages.evaluate.parity.conversations import Conversation
from variantforge.stages.llama_server import how_it_died, served

if TYPE_CHECKING:
    import subprocess

    import httpx2

_CONTEXT_TOKENS = 512
_BETWEEN = -1  # no token's id; the server hands ids on as they are, so it stands between texts


@contextmanager
def running(file: Path) -> Iterator[Llama]:
    """Raises EvaluateError when xllamacpp is missing, or llama.cpp cannot load the file."""
    import httpx2

    with (
        served(file, _CONTEXT_TOKENS, failure=EvaluateError) as (socket, process),
        httpx2.Client(transport=httpx2.HTTPTransport(uds=socket), base_url="http://localhost", timeout=600.0) as client,
    ):
        yield Llama(file, client, process)


class Refused(Exception):
    """The template raised; the message is what it said."""


class Llama:
    def __init__(self, file: Path, client: httpx2.Client, process: subprocess.Popen[str]) -> None:
        self.file, self._client, self._process = file, client, process
        self.supports: dict[str, bool] = self._asked("GET", "/props").get("chat_template_caps") or {}

    def tokenize(self, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
        """Token ids of each text, control tokens in it taken as such. ``special``: BOS before the first text, where
        the file says so; so ask for one text at a time."""
        content = [part for text in texts for part in (text, _BETWEEN)]
        told = {"content": content, "add_special": special, "parse_special": True}
        ids: list[list[int]] = [[]]
        for token in self._asked("POST", "/tokenize", told)["tokens"]:
            if token == _BETWEEN:
                ids.append([])
            else:
                ids[-1].append(token)
        if len(ids) != len(texts) + 1:
            raise self._failed(f"{len(texts)} texts were asked about, {len(ids) - 1} answered")
        return ids[:-1]

    def render(self, chat: Conversation) -> str:
        """The prompt that the file's own template writes. Raises Refused when the template does."""
        told: dict[str, Any] = {"messages": list(map(openai, chat.messages)), "add_generation_prompt": chat.prompt}
        reply = self._reply("POST", "/apply-template", told | ({"tools": chat.tools} if chat.tools else {}))
        if "error" in reply:
            raise Refused(str(reply["error"].get("message", reply["error"])))
        return str(reply["prompt"])

    def ends_with(self, token: int) -> bool:
        """Whether the token, once it is written, ends an answer."""
        told = {"prompt": [token], "n_predict": 2, "temperature": 0.0, "logit_bias": [[token, 1e6]]}
        return bool(self._asked("POST", "/completion", told)["stop_type"] == "eos")

    def _asked(self, method: str, path: str, told: Any = None) -> dict[str, Any]:
        reply = self._reply(method, path, told)
        if "error" in reply:
            raise self._failed(str(reply["error"].get("message", reply["error"])))
        return reply

    def _reply(self, method: str, path: str, told: Any = None) -> dict[str, Any]:
        import httpx2

        try:
            reply: dict[str, Any] = self._client.request(method, path, json=told).json()
        except (httpx2.TransportError, ValueError) as error:
            raise self._failed(how_it_died(self._process) or f"{type(error).__name__}: {error}") from error
        return reply

    def _failed(self, why: str) -> EvaluateError:
        return EvaluateError(
            f"llama.cpp gives no answer about {self.file.name}",
            why=why[:500],
            next="quantize this variant again; if it stays so, look at the file with llama.cpp itself",
        )


def openai(message: dict[str, Any]) -> dict[str, Any]:
    """Arguments of calls as JSON text, as the OpenAI API has them; the server hands a template what it reads."""
    if "tool_calls" not in message:
        return message
    calls = [
        {
            **call,
            "function": {
                **call["function"],
                "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
            },
        }
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}
