"""Answers of a GGUF file, by llama.cpp's own server with the template that the file carries.

The prompt is rendered by the server (``/apply-template``) and answered as plain text (``/completion``): what chat
completions do, without a parser between the model and its words. One answer at a time: several side by side would be
faster, but their last digits hang on what happens to run beside them; no cache of earlier prompts for the same reason.
So equal files give equal answers.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import EvaluateError, Interrupted
from variantforge.stages.evaluate.answers.form import Answer, Ask
from variantforge.stages.llama_server import how_it_died, served
from variantforge.stages.tokens.template import on_one_day

if TYPE_CHECKING:
    import httpx2

SLOTS = 1
_TEMPLATE_TOKENS = 1024  # what a template may write around messages
_PATIENCE_S = 3600.0  # a long answer of a large model on a small machine
_URL = "http://localhost"  # behind a socket, where the name says nothing


def answers(
    asks: Sequence[Ask], file: Path, *, stopping: Callable[[], bool] = lambda: False, slots: int = SLOTS
) -> Iterator[tuple[Ask, Answer]]:
    """As they come. Raises EvaluateError, Interrupted."""
    with _running(file, _context(asks), slots) as server, ThreadPoolExecutor(slots) as pool:
        waiting, asked = iter(asks), dict[Future[Answer], Ask]()
        try:
            while True:
                while len(asked) < slots and (ask := next(waiting, None)):
                    asked[pool.submit(server.answer, ask)] = ask
                if not asked:
                    return
                done, _ = wait(asked, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    yield asked.pop(future), future.result()
                if stopping():
                    raise Interrupted("stopped while answers were written", next="run the same command to go on")
        finally:
            if asked:
                server.kill()  # nobody waits for an answer that nobody reads


@contextmanager
def _running(file: Path, context_tokens: int, slots: int) -> Iterator[Server]:
    """With the file's own template; where that asks what day it is, with a clock that stands still."""
    with _started(file, context_tokens, slots, "") as server:
        template = server.template
        steady = on_one_day(template)
        if steady == template:
            yield server
            return
    with _started(file, context_tokens, slots, steady) as server:
        yield server


@contextmanager
def _started(file: Path, context_tokens: int, slots: int, template: str) -> Iterator[Server]:
    import httpx2

    with (
        served(file, context_tokens, slots=slots, special=True, chat_template=template, failure=EvaluateError) as (
            socket,
            process,
        ),
        httpx2.Client(transport=httpx2.HTTPTransport(uds=socket), base_url=_URL, timeout=_PATIENCE_S) as client,
    ):
        yield Server(client, process)


def _context(asks: Sequence[Ask]) -> int:
    """Tokens that the longest prompt and its answer need at most: no token is shorter than a byte."""
    prompts = {ask.prompt.id: ask for ask in asks}.values()
    longest = max(len(str([*ask.prompt.messages, *ask.prompt.tools, ask.prompt.text]).encode()) for ask in prompts)
    return longest + asks[0].sampling.max_new_tokens + _TEMPLATE_TOKENS


class Server:
    """A running llama.cpp, asked for one answer at a time by each thread."""

    def __init__(self, client: httpx2.Client, process: subprocess.Popen[str]) -> None:
        self._client, self._process = client, process

    @property
    def template(self) -> str:
        """'' where the file has none, and llama.cpp takes its own."""
        return str(self._client.get("/props").json().get("chat_template", ""))

    def kill(self) -> None:
        self._process.kill()

    def answer(self, ask: Ask) -> Answer:
        """Raises EvaluateError, naming the item."""
        sampling = ask.sampling
        told = self._post(
            ask,
            "/completion",
            {
                "prompt": self._prompt(ask),
                "n_predict": sampling.max_new_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "samplers": ["temperature", "top_p"],
                "seed": ask.seed,
                "stop": list(sampling.stop),
                "cache_prompt": False,
                "return_tokens": True,
            },
        )
        text, finish = str(told["content"]), "length" if told["stop_type"] == "limit" else "stop"
        if told["stop_type"] == "eos":
            text = text.removesuffix(self._piece(ask, told["tokens"][-1]))
        return Answer(text, int(told["tokens_predicted"]), finish)  # type: ignore[arg-type]

    def _prompt(self, ask: Ask) -> str:
        prompt = ask.prompt
        if prompt.text:
            return prompt.text
        told: dict[str, Any] = {"messages": [dict(message) for message in prompt.messages]}
        if prompt.tools:
            told["tools"] = [dict(tool) for tool in prompt.tools]
        return str(self._post(ask, "/apply-template", told)["prompt"])

    def _piece(self, ask: Ask, token: int) -> str:
        """What the token that ends an answer is written as."""
        return str(self._post(ask, "/detokenize", {"tokens": [token]})["content"])

    def _post(self, ask: Ask, path: str, told: dict[str, Any]) -> dict[str, Any]:
        import httpx2

        try:
            reply = self._client.post(path, json=told)
            body: dict[str, Any] = reply.json()
        except (httpx2.TransportError, ValueError) as error:
            raise self._failed(ask, how_it_died(self._process) or f"{type(error).__name__}: {error}") from error
        if reply.status_code != 200 or "error" in body:
            raise self._failed(ask, str(body.get("error", {}).get("message", body))[:500])
        return body

    def _failed(self, ask: Ask, why: str) -> EvaluateError:
        return EvaluateError(
            f"llama.cpp gives no answer to item {ask.prompt.id}",
            why=why,
            next="look at the file with llama.cpp itself; nothing was scored",
        )
