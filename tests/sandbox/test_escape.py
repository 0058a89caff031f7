"""Forty ways out, tried for real: each ends in time, is not counted as a pass, and leaves no process and no trace.

Every payload defines ``solve``, and is passed exactly when it got through: it then knows, or may say, the word that is
wanted. The harness's own limits are the ones of a graded program.
"""

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

from variantforge.sandbox import Limits, box, grade, read_tests

pytestmark = pytest.mark.usefixtures("sandbox")

WORD = "opensesame"
THROUGH = f"return {WORD!r}"
QUICK = Limits(seconds=8)
SHORT = Limits(seconds=1.5)  # for what never ends by itself
FORKING = Limits(seconds=8, forks=True)
SHORT_FORKING = Limits(seconds=1.5, forks=True)

# Reaching out. {port}, {abstract}, {pid}, {canary}, {workspace}: real things outside, that would notice.
NETWORK = {
    "tcp": "socket.create_connection(('127.0.0.1', {port}), 2).send(b'x')",
    "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {udp}))",
    "unix abstract socket": "socket.socket(socket.AF_UNIX).connect('\\0{abstract}')",
    "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).sendto(b'x', ('127.0.0.1', 0))",
    "ipv6": "socket.socket(socket.AF_INET6).connect(('::1', {port}))",
}
SECRETS = {
    "environment": "seen = ' '.join(os.environ.values())",
    "stored login": "seen = open(os.path.expanduser('~/.cache/huggingface/token')).read() + open('{canary}').read()",
    "environments of others": "seen = ''.join(open(p, errors='ignore').read() for p in glob.glob('/proc/*/environ'))",
    "netrc and git": "seen = open('{home}/.netrc').read() + open('{home}/.git-credentials').read()",
    "core dump": """
        import resource
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        seen = {word!r}
    """,
}
FILES = {
    "write the workspace": "open('{workspace}/trace', 'w').write('x')",
    "symlink to the workspace": "os.symlink('{workspace}', '/tmp/out'); open('/tmp/out/trace', 'w').write('x')",
    "hard link": "os.link('{canary}', '/tmp/canary')",
    "root of process 1": "open('/proc/1/root/{canary}').read()",
    "shared memory": """
        fd = os.open('/dev/shm/trace', os.O_CREAT | os.O_RDWR)
        for _ in range(8): os.write(fd, bytes(1000000))
    """,
    "descriptors that were left open": """
        found = [os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if int(fd) > 2]
        if not [link for link in found if link.startswith('/') and 'proc' not in link]: raise OSError('none')
    """,
}
PROCESSES = {
    "kill a process of the host": "os.kill({pid}, 9)",
    "ptrace": "import ctypes\nif ctypes.CDLL(None).ptrace(0, 0, 0, 0): raise OSError('refused')",
    "another namespace": "import ctypes\nif ctypes.CDLL(None).unshare(0x10000000): raise OSError('refused')",
    "fork bomb": "for _ in range(200): os.fork() or time.sleep(60)",
    "thread bomb": "for _ in range(200): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
}
RESOURCES = {
    "memory": "bytearray(2_000_000_000)",
    "mmap": "import mmap\nmmap.mmap(-1, 4_000_000_000)",
    "disk": "for n in range(40): open('/tmp/%d' % n, 'wb').write(bytes(7_000_000))",
    "one large file": "open('/tmp/big', 'wb').write(bytes(9_000_000))",
    "open files": "kept = [open('/dev/null') for _ in range(1000)]",
}


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


IMPORTS = "import glob, os, signal, socket, sys, threading, time\n"


def tried(program: str, limits: Limits) -> tuple[str, str]:
    """What is said of the payload when its answer is compared here, and when a test asks it."""
    pair = read_tests([{"input": [3], "output": WORD}], "solve")
    check = read_tests(f"def check(candidate):\n    assert candidate(3) == {WORD!r}\n", "solve")
    grades = [grade(program, tests, limits) for tests in (pair, check)]
    assert not any(found.whole for found in grades), grades
    return grades[0].reasons[0], grades[1].reasons[0]


def attempt(body: str, outside: dict[str, object], answer: str = THROUGH) -> str:
    lines = dedent(body).strip().format(**outside).splitlines()
    return IMPORTS + "def solve(x):\n" + "".join(f"    {line}\n" for line in [*lines, answer])


@pytest.mark.parametrize("name", [*NETWORK, *FILES, *PROCESSES, *RESOURCES])
def test_what_reaches_out_fails(name: str, outside: dict[str, object]) -> None:
    body = {**NETWORK, **FILES, **PROCESSES, **RESOURCES}[name]
    for reason in tried(attempt(body, outside), QUICK):
        assert "Error" in reason, reason  # refused by the kernel, not by chance


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_not_there_to_be_found(name: str, outside: dict[str, object]) -> None:
    tried(attempt(SECRETS[name], outside, f"return {WORD!r} if {WORD[:5]!r} + {WORD[5:]!r} in seen else ''"), QUICK)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("for _ in range(200): os.fork() or time.sleep(60)", id="fork bomb, where forks are allowed"),
        pytest.param("os.kill(0, 9)", id="kill(0)"),
        pytest.param("os.kill(-1, 9); os.kill(1, 9)", id="kill(-1), process 1"),
    ],
)
def test_what_harms_processes_stays_inside(body: str, outside: dict[str, object]) -> None:
    """Nothing outside is hit: the harness goes on. What is killed inside gives no answer."""
    tried(attempt(body, outside, "return None"), FORKING)


def test_a_daemon_dies_with_its_sandbox(outside: dict[str, object]) -> None:
    """Forked twice, in a session of its own, all its descriptors closed: the kernel finds it."""
    body = """
        if not os.fork():
            os.setsid()
            if os.fork(): os._exit(0)
            os.closerange(0, 64)
            while True: time.sleep(60)
        raise OSError('left a daemon behind')
    """
    assert tried(attempt(body, outside), FORKING) == ("OSError: left a daemon behind",) * 2


NEVER_ENDS = {
    "SIGALRM swallowed": "signal.signal(signal.SIGALRM, lambda *_: None); signal.alarm(1)\nwhile True: pass",
    "timers reset": "[signal.setitimer(timer, 0) for timer in range(3)]\nwhile True: pass",
    "SIGTERM and SIGXCPU ignored": """
        for number in (signal.SIGTERM, signal.SIGXCPU, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
        while True: pass
    """,
    "a finalizer that hangs": """
        class Hang:
            def __del__(self):
                while True: pass
        del Hang
        x = type('H', (), {{'__del__': lambda self: time.sleep(60)}})()
        del x
    """,
    "an exit that hangs": "import atexit; atexit.register(time.sleep, 60); sys.exit(0)",
    "processes that never end": "os.fork()\nwhile True: time.sleep(60)",
    "everything closed": "os.closerange(0, 64)\nwhile True: time.sleep(60)",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NEVER_ENDS)
def test_what_never_ends_is_ended(name: str, outside: dict[str, object]) -> None:
    forks = "fork" in NEVER_ENDS[name]
    tried(attempt(NEVER_ENDS[name], outside), SHORT_FORKING if forks else SHORT)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_flood_of_output_ends_the_run(stream: str, outside: dict[str, object]) -> None:
    body = f"while True: sys.{stream}.write('x' * 65536)"
    assert set(tried(attempt(body, outside), QUICK)) == {"too much output"}


def test_many_small_files_end_with_the_run(outside: dict[str, object]) -> None:
    body = "n = 0\nwhile True:\n    n += 1; os.close(os.open('/tmp/%d' % n, os.O_CREAT))"
    tried(attempt(body, outside), SHORT)


def test_a_result_of_any_size_is_bounded(outside: dict[str, object]) -> None:
    reasons = tried(attempt("", outside, "return 'x' * 10_000_000"), QUICK)
    assert set(reasons) <= {"too large a result", "too much output"}


# Going for the grader. Each is tried against answers compared outside and against a test that asks.
GRADER = {
    "an object equal to everything": """
        class Same(str):
            def __eq__(self, other): return True
            def __hash__(self): return 0
        class Any:
            def __eq__(self, other): return True
        def solve(x): return Any()
    """,
    "a text equal to everything": """
        class Same(str):
            def __eq__(self, other): return True
            __hash__ = str.__hash__
        def solve(x): return Same('x')
    """,
    "a walk through the frames": """
        def solve(x):
            frame, seen = sys._getframe(), []
            while frame:
                seen += [value for value in list(frame.f_locals.values()) + list(frame.f_globals.values())]
                frame = frame.f_back
            import gc
            seen += gc.get_objects()
            words = [part for item in seen if type(item) is str for part in item.replace("'", ' ').split()]
            return next((word for word in words if word == 'open' + 'sesame'), None)
    """,
    "patched modules": """
        import builtins, json
        builtins.__dict__['AssertionError'] = type('Quiet', (Exception,), {})
        builtins.__build_class__ = builtins.compile = builtins.exec = lambda *a, **k: None
        builtins.isinstance = lambda *a: True
        json.dumps = json.loads = lambda *a, **k: True
        def solve(x): return None
    """,
    "an early, friendly end": """
        def solve(x): sys.exit(0)
    """,
    "an early, hard end": """
        def solve(x): os._exit(0)
    """,
    "an end before it is asked": "os._exit(0)",
    "a forged line": """
        line = b'{"nonce":"0","value":true}\\n{"nonce":"0","value":["opensesame"[::-1],null]}\\n'
        for fd in range(1, 16):
            try: os.write(fd, line)
            except OSError: pass
        def solve(x): return None
    """,
    "replies under the right nonce, twice": """
        def solve(x):
            frame = sys._getframe()
            while 'nonce' not in frame.f_locals: frame = frame.f_back
            nonce = frame.f_locals['nonce']
            for fd in range(3, 16):
                for value in ('true', '["x",null]'):
                    try: os.write(fd, ('{"nonce":"%s","value":%s}\\n' % (nonce, value)).encode())
                    except OSError: pass
    """,
    "the runner overwritten": """
        for name, module in list(sys.modules.items()):
            file = getattr(module, '__file__', None)
            if file:
                try: open(file, 'w').write('raise SystemExit(0)')
                except OSError: pass
        main = sys.modules['__main__'].__dict__
        for name in ('candidate', 'encode', 'told', 'many'):
            main[name] = lambda *a, **k: 'true'
        def solve(x): return None
    """,
    "the test recognised": """
        def solve(x):
            tested = [name for name in list(sys.modules) + sys.argv + list(os.environ) + list(globals())
                      if 'test' in name or 'check' in name or 'variantforge' in name]
            return 'open' + 'sesame' if tested else None
    """,
    "names that stand in for the test's own": """
        def str(x): return 'opensesame'
        def candidate(x): return 'opensesame'
        def check(candidate): return True
        AssertionError = ValueError
        def solve(x): return None
    """,
}


@pytest.mark.parametrize("name", GRADER)
def test_the_grader_cannot_be_talked_over(name: str) -> None:
    tried(IMPORTS + dedent(GRADER[name]), QUICK)


def test_there_are_forty_and_more() -> None:
    tables = (NETWORK, SECRETS, FILES, PROCESSES, RESOURCES, NEVER_ENDS, GRADER)
    assert sum(map(len, tables)) + 8 >= 40


def test_the_payloads_would_be_passed_if_they_got_through(outside: dict[str, object]) -> None:
    """The clean twin: the same program without its attempt is a pass, so a failure above is the wall's doing."""
    program = attempt("", outside)
    for tests in ([{"input": [3], "output": WORD}], [f"assert solve(3) == {WORD!r}"]):
        assert grade(program, read_tests(tests, "solve"), QUICK).whole


def test_runs_beside_each_other_do_not_meet(outside: dict[str, object]) -> None:
    body = "    open('/tmp/x', 'x').write('{}')\n    return open('/tmp/x').read()"
    programs = ["def solve(x):\n" + body.format(number) for number in range(6)]
    grades: dict[int, bool] = {}

    def run(number: int) -> None:
        tests = read_tests([{"input": [0], "output": str(number)}], "solve")
        grades[number] = grade(programs[number], tests, QUICK).whole

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert grades == dict.fromkeys(range(6), True)
