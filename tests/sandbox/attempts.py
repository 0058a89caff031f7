"""Ways out of the sandbox, as programs: each defines ``solve``, and is passed exactly when it got through.

``{port}``, ``{abstract}``, ``{pid}``, ``{canary}``, ``{workspace}`` are real things outside, that would notice. The
table in docs/sandbox.md is this one.
"""

from __future__ import annotations

from dataclasses import dataclass

WORD = "opensesame"


@dataclass(frozen=True)
class Attempt:
    """``body``: what ``solve`` does (of the group ``grader``: the program). ``by``: the wall that holds it. ``ends``:
    how that shows. ``answer``: what ``solve`` returns when it gets so far."""

    group: str
    name: str
    body: str
    by: str
    ends: str
    answer: str = f"return {WORD!r}"
    forks: bool = False


# how a run ends -> what the docs say of it
ENDS = {
    "refused": "an error inside",
    "nothing": "nothing is found",
    "harmless": "nothing outside is hit",
    "left behind": "dies with the sandbox",
    "clock": "killed by the clock",
    "flood": "too much output",
    "wrong": "wrong answer, or no answer",
}
_FOUND = f"return {WORD!r} if {WORD[:5]!r} + {WORD[5:]!r} in seen else ''"
_SOCKETS, _PIDS = "`socket()` is refused", "a process namespace of its own"
_ROOT, _CLOCK = "a root of its own, read-only", "the parent's clock, then SIGKILL to process 1"
_OUTSIDE, _NONCE = "values compared by the parent", "nonces, and a second sandbox for the tests"

_REACHING = {
    "network": {
        "tcp": ("socket.create_connection(('127.0.0.1', {port}), 2).send(b'x')", _SOCKETS),
        "udp": ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {udp}))", _SOCKETS),
        "unix abstract socket": ("socket.socket(socket.AF_UNIX).connect('\\0{abstract}')", _SOCKETS),
        "raw": ("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).sendto(b'x', ('127.0.0.1', 0))", _SOCKETS),
        "ipv6": ("socket.socket(socket.AF_INET6).connect(('::1', {port}))", _SOCKETS),
    },
    "processes": {
        "kill a process of the host": ("os.kill({pid}, 9)", _PIDS),
        "ptrace": ("import ctypes\nif ctypes.CDLL(None).ptrace(0, 0, 0, 0): raise OSError('refused')", "seccomp"),
        "another namespace": (
            "import ctypes\nif ctypes.CDLL(None).unshare(0x10000000): raise OSError('refused')",
            "seccomp, --disable-userns",
        ),
        "fork bomb": ("for _ in range(200): os.fork() or time.sleep(60)", "seccomp refuses forks"),
        "thread bomb": (
            "for _ in range(200): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            "RLIMIT_NPROC",
        ),
    },
    "resources": {
        "memory": ("bytearray(2_000_000_000)", "RLIMIT_AS"),
        "mmap": ("import mmap\nmmap.mmap(-1, 4_000_000_000)", "RLIMIT_AS"),
        "disk": ("for n in range(40): open('/tmp/%d' % n, 'wb').write(bytes(7_000_000))", "tmpfs with a size"),
        "one large file": ("open('/tmp/big', 'wb').write(bytes(9_000_000))", "RLIMIT_FSIZE"),
        "open files": ("kept = [open('/dev/null') for _ in range(1000)]", "RLIMIT_NOFILE"),
    },
    "files": {
        "write the workspace": ("open('{workspace}/trace', 'w').write('x')", _ROOT),
        "symlink to the workspace": (
            "os.symlink('{workspace}', '/tmp/out'); open('/tmp/out/trace', 'w').write('x')",
            _ROOT,
        ),
        "hard link": ("os.link('{canary}', '/tmp/canary')", _ROOT),
        "root of process 1": ("open('/proc/1/root/{canary}').read()", _ROOT),
        "home by way of /proc/self/root": ("open('/proc/self/root{home}/.netrc').read()", _ROOT),
        "shared memory": (
            """
                fd = os.open('/dev/shm/trace', os.O_CREAT | os.O_RDWR)
                for _ in range(8): os.write(fd, bytes(1000000))
            """,
            "tmpfs with a size",
        ),
        "descriptors that were left open": (
            """
                found = [os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if int(fd) > 2]
                if not [link for link in found if link.startswith('/') and 'proc' not in link]: raise OSError('none')
            """,
            "only pipes are passed on",
        ),
    },
}
_SECRETS = {
    "environment": ("seen = ' '.join(os.environ.values())", "four fixed variables"),
    "stored login": (
        "seen = open(os.path.expanduser('~/.cache/huggingface/token')).read() + open('{canary}').read()",
        _ROOT,
    ),
    "environments of others": (
        "seen = ''.join(open(p, errors='ignore').read() for p in glob.glob('/proc/*/environ'))",
        _PIDS,
    ),
    "netrc and git": ("seen = open('{home}/.netrc').read() + open('{home}/.git-credentials').read()", _ROOT),
    "core dump": (
        """
            import resource
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            seen = {word!r}
        """,
        "RLIMIT_CORE, hard",
    ),
}
_HARMLESS = {
    "fork bomb, where forks are allowed": ("for _ in range(200): os.fork() or time.sleep(60)", "RLIMIT_NPROC"),
    "kill(0)": ("os.kill(0, 9)", "a session and a process namespace of its own"),
    "kill(-1), process 1": ("os.kill(-1, 9); os.kill(1, 9)", _PIDS),
}
_DAEMON = """
    if not os.fork():
        os.setsid()
        if os.fork(): os._exit(0)
        os.closerange(0, 64)
        while True: time.sleep(60)
    raise OSError('left a daemon behind')
"""
_ENDLESS = {
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
    "processes that never end": "os.fork()\nwhile True: time.sleep(60)",
    "everything closed": "os.closerange(0, 64)\nwhile True: time.sleep(60)",
}
_HANGING_EXIT = "import atexit; atexit.register(time.sleep, 60); sys.exit(0)"
# Going for the grader. Each is tried against answers compared outside and against a test that asks.
_GRADER = {
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
_BY = {
    "an early, friendly end": "an end is no answer",
    "an early, hard end": "an end is no answer",
    "an end before it is asked": "an end is no answer",
    "a walk through the frames": "no test is in the sandbox of the program",
    "the test recognised": "no test is in the sandbox of the program",
    "a forged line": _NONCE,
    "replies under the right nonce, twice": _NONCE,
    "patched modules": _NONCE,
    "the runner overwritten": _NONCE,
    "names that stand in for the test's own": "builtins of the test cannot be replaced",
}

ATTEMPTS: tuple[Attempt, ...] = (
    *(Attempt(group, name, *told, "refused") for group, table in _REACHING.items() for name, told in table.items()),
    *(Attempt("secrets", name, *told, "nothing", _FOUND) for name, told in _SECRETS.items()),
    *(Attempt("processes", name, *told, "harmless", "return None", True) for name, told in _HARMLESS.items()),
    Attempt("processes", "a daemon, forked twice, in a session of its own", _DAEMON, _PIDS, "left behind", forks=True),
    *(
        Attempt("resources", f"huge {stream}", f"while True: sys.{stream}.write('x' * 65536)", "1 MB a stream", "flood")
        for stream in ("stdout", "stderr")
    ),
    Attempt(
        "resources",
        "many small files",
        "n = 0\nwhile True:\n    n += 1; os.close(os.open('/tmp/%d' % n, os.O_CREAT))",
        _CLOCK,
        "clock",
    ),
    *(Attempt("time", name, body, _CLOCK, "clock", forks="fork" in body) for name, body in _ENDLESS.items()),
    Attempt("time", "an exit that hangs", _HANGING_EXIT, "an end is no answer", "wrong"),
    *(Attempt("grader", name, body, _BY.get(name, _OUTSIDE), "wrong", "") for name, body in _GRADER.items()),
)


def table() -> str:
    """As docs/sandbox.md has it, in Markdown."""
    order = ("network", "processes", "resources", "secrets", "files", "time", "grader")
    rows = sorted(ATTEMPTS, key=lambda one: order.index(one.group))
    lines = [f"| {one.group} | {one.name} | {one.by} | {ENDS[one.ends]} |" for one in rows]
    return "\n".join(["| against | attempt | held by | ends as |", "|---|---|---|---|", *lines])
