"""The speed of a GGUF file, as llama.cpp's own server tells it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variantforge.errors import EvaluateError
from variantforge.stages.evaluate.speed.runs import Run, resident_peak, words
from variantforge.stages.llama_server import how_it_died, served

if TYPE_CHECKING:
    import httpx2

_MARGIN = 8  # tokens of the context beyond what is asked


@contextmanager
def running(file: Path, context_tokens: int) -> Iterator[Gguf]:
    """A file, loaded; the time of it holds the start of a process. Raises EvaluateError."""
    import httpx2

    began = time.perf_counter()
    with (
        served(file, context_tokens + _MARGIN, failure=EvaluateError) as (socket, process),
        httpx2.Client(
            transport=httpx2.HTTPTransport(uds=socket), base_url="http://localhost", timeout=3600.0
        ) as client,
    ):
        yield Gguf(client, process, time.perf_counter() - began)


class Gguf:
    def __init__(self, client: httpx2.Client, process: subprocess.Popen[str], load_s: float) -> None:
        self.version = f"llama.cpp, xllamacpp {metadata.version('xllamacpp')}"
        self.load_s = load_s
        self._client, self._process = client, process

    def run(self, prompt_tokens: int, tokens: int) -> Run:
        ids = self._post("/tokenize", {"content": words(prompt_tokens)})["tokens"][:prompt_tokens]
        asked = {"prompt": ids, "n_predict": tokens, "temperature": 0.0, "ignore_eos": True, "cache_prompt": False}
        told = self._post("/completion", asked)["timings"]
        return Run(told["prompt_n"], told["predicted_n"], told["prompt_ms"] / 1000, told["predicted_ms"] / 1000)

    def peak_bytes(self) -> int | None:
        return resident_peak(self._process.pid)

    def _post(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        import httpx2

        try:
            reply = self._client.post(path, json=asked)
            told: dict[str, Any] = reply.json()
        except (httpx2.TransportError, ValueError) as error:
            raise EvaluateError(
                "llama.cpp ended while its speed was measured",
                why=how_it_died(self._process) or f"{type(error).__name__}: {error}",
            ) from error
        if reply.status_code != 200:
            raise EvaluateError("llama.cpp cannot be measured", why=str(told)[:500])
        return told
