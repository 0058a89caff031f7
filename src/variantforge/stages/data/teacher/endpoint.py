"""An OpenAI-compatible server, asked at a pace and with patience.

Waited for and asked again: no connection, no answer in time, an answer cut short, 408, 425, 429 and 5xx;
``Retry-After`` is honoured, and what is waited for is told. Taken as said: every other status. The key goes into one
header of one client and nowhere else; nobody is redirected with it.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from variantforge import redact
from variantforge.errors import Interrupted, TeacherRefused, TeacherUnreachable
from variantforge.stages.data.teacher.kept import Answer
from variantforge.stages.data.teacher.questions import Question
from variantforge.words import duration

if TYPE_CHECKING:
    import httpx2

WAITS_S = (1, 2, 4, 8, 15, 30, 60, 60, 60)  # between tries of one question
LONGEST_WAIT_S = 600.0  # what a server may ask for; the sum of WAITS_S is four minutes
NEWS_S = 60.0  # between two words about a server that gives no answer
MAX_BYTES = 16 << 20
_CONNECT_S = 10.0
_AGAIN = {408, 425, 429}
_SHOWN = 300


@dataclass(frozen=True)
class Address:
    """``url``: up to and with ``/v1``. ``socket``: a file to speak through instead of a port. ``key_env``: the name of
    the environment variable that ``key`` was read from. ``who`` answers there: what messages, and the family file,
    call it. ``at_key``: the section of the family file that says how it is asked, where that is known."""

    url: str
    model: str
    key: str = ""
    key_env: str = ""
    socket: str = ""
    who: str = "teacher"
    at_key: str = ""

    def place(self, name: str) -> str:
        """Where something of it stands in the family file, for people."""
        return f"{self.at_key}.{name}" if self.at_key else name


class Endpoint:
    """``requests_per_minute``: None for as fast as it answers. ``dead``: '' or why no answer can come any more.
    ``note``: is told, in the thread that asks for answers, what is being waited for."""

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float = 120.0,
        concurrency: int = 4,
        requests_per_minute: float | None = None,
        stopping: Callable[[], bool] = lambda: False,
        dead: Callable[[], str] = lambda: "",
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        redact.learn(address.key)
        self._address, self._concurrency, self._stopping, self._dead = address, concurrency, stopping, dead
        self._timeout_s, self._stopped, self._telling = timeout_s, threading.Event(), threading.Lock()
        self._news, self._note, self._quiet_until = queue.SimpleQueue[str](), note, 0.0
        self._pace = _Pace(60.0 / requests_per_minute if requests_per_minute else 0.0, self._stopped)

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        """As they come. Raises TeacherUnreachable, TeacherRefused, and Interrupted when the user asks to stop."""
        waiting = iter(questions)
        with self._client() as client, ThreadPoolExecutor(self._concurrency) as pool:
            asked: dict[Future[Answer], Question] = {}
            try:
                while True:
                    while len(asked) < self._concurrency and (question := next(waiting, None)):
                        asked[pool.submit(self._ask, client, question)] = question
                    if not asked:
                        return
                    done, _ = wait(asked, timeout=0.2, return_when=FIRST_COMPLETED)
                    while not self._news.empty():
                        self._note(self._news.get())
                    for future in done:
                        yield asked.pop(future), future.result()
                    if self._stopping():
                        raise self._interrupted()
            finally:
                self._stopped.set()  # nobody sleeps on
                if asked:
                    client.close()  # nor waits for an answer that nobody reads

    def _client(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(
            transport=httpx2.HTTPTransport(uds=self._address.socket) if self._address.socket else None,
            timeout=httpx2.Timeout(self._timeout_s, connect=_CONNECT_S),
            headers={"Authorization": f"Bearer {self._address.key}"} if self._address.key else {},
            follow_redirects=False,
            trust_env=self._address.url.startswith("https://"),  # no proxy stands before this machine
        )

    def _ask(self, client: httpx2.Client, question: Question) -> Answer:
        import httpx2

        status, reason = 0, ""
        for tried, pause in enumerate((*WAITS_S, None), 1):
            self._pace.take_turn()
            asked_to_wait = 0.0
            try:
                status, headers, body = self._post(client, question)
                if status == 200:
                    return read_answer(body)
                reason = f"it answers {status}: {_message(body)}"
                if status not in _AGAIN and status < 500:
                    raise self._refused(status, body)
                asked_to_wait = retry_after(headers.get("retry-after", ""))
            except (httpx2.TransportError, CutShort) as error:
                status, reason = 0, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if self._stopped.is_set():
                raise self._interrupted()
            if asked_to_wait > LONGEST_WAIT_S:
                reason = f"{reason}, and asks to wait {duration(asked_to_wait)}"
            if pause is None or self._dead() or asked_to_wait > LONGEST_WAIT_S:
                break
            self._pace.hold(max(pause, asked_to_wait) if asked_to_wait else 0.0)
            self._tell(f"{reason}; try {tried + 1} of {len(WAITS_S) + 1} in {duration(max(pause, asked_to_wait))}")
            self._stopped.wait(max(float(pause), asked_to_wait))
        raise self._unreachable(status, reason)

    def _tell(self, text: str) -> None:
        """Now and then, whichever of the threads waits."""
        with self._telling:
            if time.monotonic() < self._quiet_until:
                return
            self._quiet_until = time.monotonic() + NEWS_S
        self._news.put(f"no answer from {self._address.model} at {self._address.url} yet: {text}")

    def _unreachable(self, status: int, reason: str) -> TeacherUnreachable:
        next = "look after the server, then run the same command again: it goes on from here"
        if status == 429:
            pace = self._address.place("requests_per_minute")
            next = f"set {pace} to what it allows, or a lower concurrency, then run the same command again"
        return TeacherUnreachable(
            f"the {self._address.who} {self._address.model} at {self._address.url} gives no answer",
            why=f"{(self._dead() or reason).rstrip('.')}. What it has answered so far is kept.",
            next=next,
        )

    def _post(self, client: httpx2.Client, question: Question) -> tuple[int, Mapping[str, str], bytes]:
        body = {
            "model": self._address.model,
            "messages": question.messages,
            "max_tokens": question.max_tokens,
            "temperature": question.temperature,
            "top_p": question.top_p,
            "seed": question.seed,
            "stream": False,
        }
        with client.stream("POST", f"{self._address.url}/chat/completions", json=body) as reply:
            received = bytearray()
            for block in reply.iter_bytes():
                received += block
                if len(received) > MAX_BYTES:
                    raise CutShort(f"an answer of more than {MAX_BYTES >> 20} MB")
            if self._stopped.is_set():  # a connection that was opened while the client was closed is nobody else's
                reply.extensions["network_stream"].close()
            return reply.status_code, reply.headers, bytes(received)

    def _interrupted(self) -> Interrupted:
        return Interrupted(f"stopped while the {self._address.who} wrote", next="run the same command to go on")

    def _refused(self, status: int, body: bytes) -> TeacherRefused:
        address = self._address
        next = f"correct '{address.place(address.who)}' in the family file, then run the same command again"
        if status in (401, 403) and not address.key_env:
            next = f"name the variable that holds the key: {address.place(address.who)}: {{api_key_env: NAME}}"
        elif status in (401, 403):
            next = f"export {address.key_env}=…   # a key that may use {address.model}, then the same command"
        elif 300 <= status < 400:
            next = "write the address that it points to: nobody is redirected with a key"
        return TeacherRefused(
            f"the {address.who} {address.model} at {address.url} refuses to answer ({status})",
            why=f"{_message(body).rstrip('.')}. What it has answered so far is kept.",
            next=next,
        )


class CutShort(Exception):
    """An answer that is no whole one."""


class _Pace:
    """Turns, at least ``apart_s`` from one another, none of them before what ``hold`` says."""

    def __init__(self, apart_s: float, stopped: threading.Event) -> None:
        self._apart_s, self._stopped, self._lock, self._next = apart_s, stopped, threading.Lock(), 0.0

    def take_turn(self) -> None:
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._apart_s
        self._stopped.wait(max(0.0, turn - time.monotonic()))

    def hold(self, seconds: float) -> None:
        """Nobody asks for so long: the server has said so."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def read_answer(body: bytes) -> Answer:
    """Raises CutShort for what is not an answer, whole and of the known form."""
    try:
        choice = json.loads(body)["choices"][0]
        message, finish = choice["message"], choice["finish_reason"]
        content = message.get("content") or ""
        reasoning = message.get("reasoning_content") or ""
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise CutShort(f"no chat completion came back ({type(error).__name__}): {_message(body)}") from None
    if not (isinstance(content, str) and isinstance(reasoning, str)):
        raise CutShort("a chat completion without text came back")
    told = {"reasoning_content": reasoning} if reasoning else {}
    return {"content": content, "finish": "tool_calls" if message.get("tool_calls") else str(finish), **told}


def retry_after(value: str) -> float:
    """Seconds, of a number of them or of a date; 0 for anything else."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, IndexError):
        return 0.0


def _message(body: bytes) -> str:
    """What a server says of an error, as far as a person would read it."""
    text = body.decode("utf-8", "replace").strip()
    try:
        told: Any = json.loads(text)
        error = told.get("error", told)
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        pass
    return f"it says: {text[:_SHOWN]}" if text else "it says nothing"
