"""A small OpenAI-compatible server that misbehaves on demand, and the step that asks it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.bench import do_step
from variantforge.stages.data.stage import STAGE
from variantforge.stages.rows import HELDOUT, TRAIN, make_row, write_rows
from variantforge.step import FACTS, Artifact, Pin, Step

Fault = Callable[["Handler"], bool]  # True: it has dealt with the request


class Handler(BaseHTTPRequestHandler):
    """Answers ``You said: …`` unless the next fault of ``server.faults`` has something else in mind."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append((self.path, self.body, dict(self.headers)))
            fault = self.server.faults.pop(0) if self.server.faults else None
        if fault is None or not fault(self):
            self.complete(f"You said: {self.body['messages'][-1]['content']} ({self.body['seed']})")

    def complete(self, content: str, finish: str = "stop", **message: Any) -> None:
        told = {"role": "assistant", "content": content, **message}
        self.reply(200, {"choices": [{"message": told, "finish_reason": finish}]})

    def reply(self, status: int, told: Any, **headers: str) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def says(status: int, message: str = "no", **headers: str) -> Fault:
    def fault(handler: Handler) -> bool:
        handler.reply(status, {"error": {"message": message}}, **headers)
        return True

    return fault


def completes(content: str, finish: str = "stop", **message: Any) -> Fault:
    def fault(handler: Handler) -> bool:
        handler.complete(content, finish, **message)
        return True

    return fault


def cut(handler: Handler) -> bool:
    """Half of an answer, then the end of the connection."""
    handler.send_response(200)
    handler.send_header("Content-Length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True
    return True


def hangs(handler: Handler) -> bool:
    handler.server.release.wait(20)
    return True


@contextmanager
def serving(faults: Sequence[Fault] = ()) -> Iterator[Any]:
    """``url`` up to and with /v1, ``asked`` as (path, body, headers), ``faults`` still to come."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked, server.faults, server.lock, server.release = [], list(faults), threading.Lock(), threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


def chat(*turns: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(turns)]
    return make_row("asks", {"messages": messages})


def prompts(root: Path, rows: Sequence[dict[str, Any]], heldout: Sequence[dict[str, Any]] = ()) -> Artifact:
    folder = root / "prompts"
    write_rows(folder / TRAIN, rows)
    write_rows(folder / HELDOUT, heldout)
    (folder / FACTS).write_text("{}")
    return Artifact("prompts", folder)


def step(teacher: dict[str, str], hints: dict[str, Any] | None = None, **dataset: Any) -> Step:
    params = {"name": "told", "dataset": dataset, "teacher": teacher, "on_bad_row": "error", "fraction": 0.0}
    inputs = {"prompts": "prompts"} if teacher else {"prompts": "prompts", "teacher:told": "model"}
    return Step("data", 1, "teacher", params, inputs, hints={"at_key": "datasets.told", **(hints or {})})


def of_gguf(path: Path, **dataset: Any) -> Step:
    plain = step({"": ""}, **dataset)
    return Step(
        "data",
        1,
        "teacher",
        {**plain.params, "teacher": {}},
        plain.inputs,
        {"teacher": Pin("0" * 64, str(path))},
        plain.hints,
    )


def asked_of(
    server: Any, root: Path, given: Artifact, *, hints: dict[str, Any] | None = None, **dataset: Any
) -> Artifact:
    """The step done, with a server as the teacher."""
    context = {name: dataset.pop(name) for name in ("emit", "stopping") if name in dataset}
    pace = {"timeout_s": 5.0, "concurrency": 2, "requests_per_minute": None}
    one = step({"endpoint": server.url, "model": "tiny"}, {"pace": pace, **(hints or {})}, **dataset)
    return do_step(STAGE, one, root, {"prompts": given}, **context)


def rows_of(artifact: Artifact, name: str = TRAIN) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (artifact.path / name).read_text().splitlines()]


def answers_of(artifact: Artifact, name: str = TRAIN) -> list[str]:
    return [row["messages"][-1]["content"] for row in rows_of(artifact, name)]
