"""A small OpenAI-compatible server that judges as it is told to, and evaluations that ask it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from tests.stages.data.teacher.school import Handler

Opinion = Callable[[str], str]  # the question -> what is answered
_ANSWERS = re.compile(
    r"=== ANSWER A ===\n(.*?)\n=== END OF A ===\n\n=== ANSWER B ===\n(.*?)\n=== END OF B ===", re.DOTALL
)


class Judge(Handler):
    """Says what ``server.opinion`` thinks of the last message."""

    def complete(self, content: str, finish: str = "stop", **message: Any) -> None:
        super().complete(self.server.opinion(self.body["messages"][-1]["content"]), finish, **message)


@contextmanager
def sitting(opinion: Opinion) -> Iterator[Any]:
    """``url`` up to and with /v1; ``asked`` as (path, body, headers); ``faults`` still to come."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    server.daemon_threads = True
    server.asked, server.faults, server.lock, server.release = [], [], threading.Lock(), threading.Event()
    server.opinion, server.url = opinion, f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


def answers_in(question: str) -> tuple[str, str]:
    """A and B of an arena's question."""
    found = _ANSWERS.search(question)
    assert found
    return found[1], found[2]


def prefers(score: Callable[[str], float]) -> Opinion:
    """Whoever has the higher score, with a sentence before."""

    def opinion(question: str) -> str:
        a, b = (score(answer) for answer in answers_in(question))
        return f"I have looked at both.\nVerdict: {'tie' if a == b else 'A' if a > b else 'B'}"

    return opinion
