"""What llama.cpp itself says of a GGUF file: the next tokens it expects after given contexts.

llama.cpp runs in a process of its own (this file, run as a script), through the wheel ``xllamacpp``: a file that makes
it abort fails one step and nothing else, its printing stays there, and its memory is given back. It listens on a
socket inside a private temporary folder, not on a port.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import IO, Any

from variantforge.errors import EvaluateError, Interrupted
from variantforge.redact import without_secrets

TOP = 10  # tokens compared at each position
Expectation = dict[int, float]  # token id -> log-probability, of the TOP likeliest tokens


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
    if find_spec("xllamacpp") is None:
        raise EvaluateError(
            "llama.cpp is not there to run the GGUF file",
            why="The package xllamacpp is not installed, and without a run the file is not known to work.",
            next="pip install 'variantforge[evaluate]' (or set runtime_positions: 0 to leave the run out)",
        )
    with tempfile.TemporaryFile("w+") as request, tempfile.TemporaryFile() as log:
        json.dump({"model": str(model), "lora": str(lora or ""), "contexts": list(map(list, contexts))}, request)
        request.seek(0)
        with _started(request, log) as child:
            answers = _collect(child, len(contexts), progress, stopping)
        if child.returncode or len(answers) != len(contexts):
            raise _failed(model, child.returncode, log)
    return answers


def _started(request: IO[str], log: IO[bytes]) -> subprocess.Popen[str]:
    home = Path(__file__).parents[3]  # the folder that holds the package, wherever it was imported from
    paths = [str(home), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "variantforge.stages.evaluate.llama_runtime",
        ],  # -P: no modules of the user's folder
        stdin=request,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        # threads that wait must sleep: on a machine that is busy, spinning ones take minutes for a second's work
        env={**without_secrets(os.environ), "PYTHONPATH": os.pathsep.join(paths), "OMP_WAIT_POLICY": "PASSIVE"},
    )


def _collect(
    child: subprocess.Popen[str], total: int, progress: Callable[[int, int], None], stopping: Callable[[], bool]
) -> list[Expectation]:
    """One line of JSON per context; fewer when the other process ends before its time."""
    assert child.stdout is not None
    answers: list[Expectation] = []
    try:
        for line in child.stdout:
            answers.append({int(token): logprob for token, logprob in json.loads(line)})
            progress(len(answers), total)
            if stopping():
                raise Interrupted("stopped while llama.cpp was measured", next="run the same command again")
        child.wait()
    finally:
        if child.returncode is None:
            child.kill()
    return answers


def _failed(model: Path, code: int, log: IO[bytes]) -> EvaluateError:
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    how = f"It was killed by signal {-code}." if code < 0 else f"It ended with code {code}."
    return EvaluateError(
        f"llama.cpp cannot run {model.name}",
        why="\n".join([how, *lines[-3:]]),
        next="quantize this variant again; if it stays so, leave the format out of 'quantize'",
    )


# --- the other process ------------------------------------------------------------------------------------------

# The token that comes out is forced to be a letter: the server leaves log-probabilities out for half a character.
# They are those of the model, before any bias.
_ONE_TOKEN = {"n_predict": 1, "n_probs": TOP, "temperature": 0.0, "logit_bias": [["a", 1e4]], "cache_prompt": True}


def _serve() -> int:
    """Reads one request from stdin; writes one line per context to stdout: ``[[token, log-probability], ...]``."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what C++ prints goes to the log
    request = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(prefix="vf-") as folder:  # once bound, a socket needs no name: nobody looks for it
        server = _server(request["model"], f"{folder}/llama.sock", max(map(len, request["contexts"])), request["lora"])
    for context in request["contexts"]:
        print(json.dumps(_expectation(server, context)), file=answers, flush=True)
    return 0


def _server(model: str, socket: str, longest: int, lora: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path=lora, scale=1.0)] if lora else []
    params.n_ctx = longest + 8
    params.n_parallel = 1
    params.hostnames = [socket]  # a name in .sock is a file, not a port
    params.verbosity = 1  # errors only
    params.warmup = False
    params.ui = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
    return xllamacpp.Server(params)


def _expectation(server: Any, context: list[int]) -> list[tuple[int, float]]:
    answer = server.handle_completions({"prompt": context, **_ONE_TOKEN})
    if "error" in answer:
        raise RuntimeError(answer["error"].get("message", answer["error"]))
    top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return [(one["id"], nan if one["logprob"] is None else one["logprob"]) for one in top]


if __name__ == "__main__":
    try:
        sys.exit(_serve())
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
