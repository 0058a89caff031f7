"""llama.cpp's own server (``xllamacpp``) for one GGUF file, in a process of its own, behind a private socket.

Run as a script, this file is that process. It ends when its standard input does, so it never outlives the step.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from variantforge.errors import DataError, StepError
from variantforge.redact import without_secrets

READY = "ready"


@contextmanager
def served(
    model: Path,
    context_tokens: int,
    *,
    port: int = 0,
    slots: int = 1,
    special: bool = False,
    chat_template: str = "",
    lora: Path | None = None,
    failure: type[StepError] = DataError,
    remedy: str = "use another file",
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The socket's path (or '' where it listens on ``port`` of this machine), and the process.

    ``context_tokens``: of each of the ``slots`` that answer side by side. ``special``: control tokens are written out
    in what it answers. ``chat_template``: in place of the file's own. ``lora``: an adapter's file, loaded onto it.
    Raises ``failure`` when xllamacpp is missing or llama.cpp cannot load the file; ``remedy`` says what helps then.
    """
    if find_spec("xllamacpp") is None:
        raise failure(
            f"llama.cpp is not there to run {model.name}",
            why="The package xllamacpp is not installed.",
            next="pip install 'variantforge[evaluate]'",
        )
    with tempfile.TemporaryDirectory(prefix="vf-") as folder, tempfile.TemporaryFile() as log:
        socket = "" if port else f"{folder}/llama.sock"
        process = _started(log)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            request = {"model": str(model), "context": context_tokens * slots, "slots": slots, "special": special}
            request |= {"socket": socket, "port": port, "chat_template": chat_template, "lora": str(lora or "")}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            if process.stdout.readline().strip() != READY:
                process.wait()
                why = "\n".join([f"{how_it_died(process)}.", *_last_lines(log)])
                raise failure(f"llama.cpp cannot run {model.name}", why=why, next=remedy)
            yield socket, process
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()


def how_it_died(process: subprocess.Popen[str]) -> str:
    """'' while it lives."""
    code = process.poll()
    if code is None:
        return ""
    return (
        f"llama.cpp's process was killed by signal {-code}"
        if code < 0
        else (f"llama.cpp's process has ended with code {code}")
    )


def _started(log: IO[bytes]) -> subprocess.Popen[str]:
    home = Path(__file__).parents[2]  # the folder that holds the package, wherever it was imported from
    paths = [str(home), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "variantforge.stages.llama_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        # threads that wait must sleep: on a machine that is busy, spinning ones take minutes for a second's work
        env={**without_secrets(os.environ), "PYTHONPATH": os.pathsep.join(paths), "OMP_WAIT_POLICY": "PASSIVE"},
    )


def _last_lines(log: IO[bytes]) -> list[str]:
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-3:]


# --- the other process ------------------------------------------------------------------------------------------------


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what C++ prints goes to the log
    request = json.loads(sys.stdin.readline())
    server = _server(request)
    print(READY, file=answers, flush=True)
    sys.stdin.read()  # until the step is done, or gone
    del server


def _server(request: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = request["model"]
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path=lora, scale=1.0)] if (lora := request["lora"]) else []
    params.n_ctx = request["context"]
    params.n_parallel = request["slots"]
    params.special = request["special"]
    if request["chat_template"]:
        params.chat_template = request["chat_template"]
    if request["socket"]:
        params.hostnames = [request["socket"]]  # a name in .sock is a file, not a port
    else:
        params.hostnames, params.port = ["127.0.0.1"], request["port"]
    params.verbosity = 1  # errors only
    params.warmup = False
    params.ui = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
    return xllamacpp.Server(params)


if __name__ == "__main__":
    try:
        _serve()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
