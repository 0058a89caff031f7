"""Ways out of the sandbox (``attempts``), tried for real: each ends in time, is not counted as a pass, and leaves no
process and no trace."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from textwrap import dedent

import pytest

from tests.sandbox.attempts import ATTEMPTS, WORD, Attempt, table
from variantforge.sandbox import Limits, box, grade, read_tests

pytestmark = pytest.mark.usefixtures("sandbox")

DOCS = Path(__file__).parents[2] / "docs" / "sandbox.md"
IMPORTS = "import glob, os, signal, socket, sys, threading, time\n"
QUICK_S, SHORT_S = 8.0, 1.5  # short: for what never ends by itself


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Ports that listen, a secret in the environment, files that can be read: and at the end, nobody was there."""
    home = tmp_path / "home"
    (home / ".cache/huggingface").mkdir(parents=True)
    for file in (".netrc", ".git-credentials", ".cache/huggingface/token"):
        (home / file).write_text(WORD)
    canary = tmp_path / "canary"
    canary.write_text(WORD)
    workspace = tmp_path / "workspace"
    workspace.mkdir(mode=0o777)
    for folder in (tmp_path, home, workspace):
        folder.chmod(0o777)
    monkeypatch.setenv("HF_TOKEN", WORD)
    monkeypatch.setenv("HOME", str(home))
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        unix.bind(f"\0vf-{os.getpid()}")
        for listener in (tcp, unix):
            listener.listen()
        for each in (tcp, udp, unix):
            each.setblocking(False)
        yield {
            "port": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "abstract": f"vf-{os.getpid()}",
            "pid": os.getpid(),
            "canary": canary,
            "workspace": workspace,
            "home": home,
            "word": WORD,
        }
        for listener in (tcp, unix):
            with pytest.raises(BlockingIOError):
                listener.accept()
        with pytest.raises(BlockingIOError):
            udp.recv(1)
    assert canary.read_text() == WORD
    assert canary.stat().st_nlink == 1
    assert not list(workspace.iterdir())


@pytest.fixture(scope="module", autouse=True)
def no_survivors() -> Iterator[None]:
    """At the end, not one process of this machine lives in a process namespace of any sandbox that was started here."""
    opened: set[int] = set()
    real = box._kill

    def kill(bwrap: Popen[bytes], first: int | None) -> None:
        if first is not None:
            opened.add(_namespace(_pid_of(first)))
        real(bwrap, first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(box, "_kill", kill)
        yield
    opened.discard(0)
    assert opened, "no sandbox was seen"
    deadline = time.monotonic() + 30  # numbers of namespaces come again: another run beside may have one for a while
    while left := _inhabitants(opened):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def _inhabitants(namespaces: set[int]) -> set[str]:
    return {name for name in os.listdir("/proc") if name.isdigit() and _namespace(int(name)) in namespaces}


def _pid_of(pidfd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


def _namespace(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:
        return 0


def tried(program: str, limits: Limits) -> tuple[str, str]:
    """What is said of the payload when its answer is compared here, and when a test asks it."""
    pair = read_tests([{"input": [3], "output": WORD}], "solve")
    check = read_tests(f"def check(candidate):\n    assert candidate(3) == {WORD!r}\n", "solve")
    grades = [grade(program, tests, limits) for tests in (pair, check)]
    assert not any(found.whole for found in grades), grades
    return grades[0].reasons[0], grades[1].reasons[0]


def program_of(one: Attempt, outside: dict[str, object]) -> str:
    if one.group == "grader":
        return IMPORTS + dedent(one.body)
    lines = dedent(one.body).strip().format(**outside).splitlines()
    return IMPORTS + "def solve(x):\n" + "".join(f"    {line}\n" for line in [*lines, one.answer])


def named(one: Attempt) -> str:
    return one.name.replace("/", "-")


@pytest.mark.parametrize("one", [one for one in ATTEMPTS if one.ends != "clock"], ids=named)
def test_it_does_not_get_through(one: Attempt, outside: dict[str, object]) -> None:
    reasons = tried(program_of(one, outside), Limits(seconds=QUICK_S, forks=one.forks))
    if one.ends == "refused":
        assert all("Error" in reason for reason in reasons), reasons  # by the kernel, not by chance
    elif one.ends == "flood":
        assert set(reasons) == {"too much output"}
    elif one.ends == "left behind":
        assert reasons == ("OSError: left a daemon behind",) * 2


@pytest.mark.slow
@pytest.mark.parametrize("one", [one for one in ATTEMPTS if one.ends == "clock"], ids=named)
def test_what_never_ends_is_ended(one: Attempt, outside: dict[str, object]) -> None:
    assert set(tried(program_of(one, outside), Limits(seconds=SHORT_S, forks=one.forks))) == {"timeout"}


def test_a_result_of_any_size_is_bounded() -> None:
    reasons = tried("def solve(x): return 'x' * 10_000_000", Limits(seconds=QUICK_S))
    assert set(reasons) <= {"too large a result", "too much output"}


def test_there_are_forty_and_more_and_the_docs_name_them_all() -> None:
    assert len(ATTEMPTS) >= 40
    assert len({one.name for one in ATTEMPTS}) == len(ATTEMPTS)
    assert table() in DOCS.read_text()


def test_the_payloads_would_be_passed_if_they_got_through(outside: dict[str, object]) -> None:
    """The clean twin: the same program without its attempt is a pass, so a failure above is the wall's doing."""
    program = program_of(Attempt("none", "none", "", "", ""), outside)
    for tests in ([{"input": [3], "output": WORD}], [f"assert solve(3) == {WORD!r}"]):
        assert grade(program, read_tests(tests, "solve"), Limits(seconds=QUICK_S)).whole


def test_runs_beside_each_other_do_not_meet() -> None:
    body = "    open('/tmp/x', 'x').write('{}')\n    return open('/tmp/x').read()"
    programs = ["def solve(x):\n" + body.format(number) for number in range(6)]
    grades: dict[int, bool] = {}

    def run(number: int) -> None:
        tests = read_tests([{"input": [0], "output": str(number)}], "solve")
        grades[number] = grade(programs[number], tests, Limits(seconds=QUICK_S)).whole

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert grades == dict.fromkeys(range(6), True)
