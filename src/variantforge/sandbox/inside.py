# mypy: ignore-errors
"""What runs inside the sandbox: this file's text is given to a bare Python there; nothing here trusts or is trusted.

``candidate`` serves generated code: it runs the program, then calls its functions as asked; ``script`` runs it as a
whole. ``grader`` runs tests that came with the data; the program's names are stand-ins there, whose calls travel
through the parent to the candidate's own sandbox. Requests come as Python literals on one descriptor, replies go as
JSON on another. Only builtin modules are imported: a run costs little more than starting Python.
"""

import builtins
import posix
import sys
from _json import encode_basestring_ascii as quoted


class Ref:
    """An object that cannot travel: its number among the candidate's ``Kept``. Equal to nothing but itself."""

    def __init__(self, number):
        self.number = number


class Kept:
    """Objects that stayed here, each under one number."""

    def __init__(self):
        self.objects, self.numbers = [], {}

    def number(self, value):
        number = self.numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        return number


def encode(value, kept):
    """JSON text of a value; builtin kinds by their meaning (a Counter is a dict), anything else as a number."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return quoted(str.__str__(value))
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        text = float.__repr__(value)
        return text if text[-1].isdigit() else '{"float":"' + text + '"}'
    if isinstance(value, list):
        return many(value, kept)
    if isinstance(value, dict):
        return '{"dict":[' + ",".join(many(pair, kept) for pair in dict.items(value)) + "]}"
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return '{"' + kind.__name__ + '":' + many(value, kept) + "}"
    if isinstance(value, complex):
        return '{"complex":' + many((value.real, value.imag), kept) + "}"
    if isinstance(value, range):
        return '{"range":' + many((value.start, value.stop, value.step), kept) + "}"
    if isinstance(value, bytes):
        return '{"bytes":"' + bytes.hex(value) + '"}'
    if isinstance(value, Ref):
        return '{"ref":' + str(value.number) + "}"
    if kept is None:
        raise TypeError(f"a test hands over a {type(value).__name__}, which cannot leave its sandbox")
    return '{"ref":' + str(kept.number(value)) + "}"


def many(values, kept):
    return "[" + ",".join([encode(value, kept) for value in values]) + "]"


def told(error):
    """The class and the words of an exception, as JSON."""
    try:
        words = str(error)[:500]
    except BaseException:
        words = ""
    return "[" + quoted(type(error).__name__[:100]) + "," + quoted(words) + "]"


def bound(limits):
    """Hard limits, which nothing inside can raise again; and the first to go when memory runs out."""
    import resource

    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def channel(reads, writes):
    lines = open(reads, "rb", buffering=65536)  # noqa: SIM115
    names = {"__builtins__": builtins, "nan": float("nan"), "inf": float("inf"), "Ref": Ref}

    def ask():
        line = lines.readline()
        if not line:
            posix._exit(0)
        return eval(line, names)  # noqa: S307 - it comes from the parent, and this is inside

    def answer(text):
        data = text.encode() + b"\n"
        while data:
            data = data[posix.write(writes, data) :]

    answer("{}")  # a greeting: until now nothing but this file has been run
    return ask, answer


def candidate(ask, answer):
    nonce, name, program = ask()
    module = type(sys)(name)
    sys.modules[name] = module
    kept = Kept()

    def reply(nonce, work):
        try:
            text = '"value":' + work()
        except BaseException as error:
            text = '"error":' + told(error)
        answer('{"nonce":"' + nonce + '",' + text + "}")

    def start():
        exec(compile(program, "<program>", "exec"), module.__dict__)
        return "[" + offered(callable) + "," + offered(lambda value: type(value) is type(sys)) + "]"

    def offered(wanted):
        return many([name for name, value in module.__dict__.items() if type(name) is str and wanted(value)], kept)

    def call():
        args = [whole(value) for value in positional]
        before = many(args, kept)
        value = encode(module.__dict__[function](*args, **whole(keywords)), kept)
        after = many(args, kept)
        return "[" + value + "," + ("null" if after == before else after) + "]"

    def whole(value):
        if type(value) in (list, tuple):
            return type(value)(map(whole, value))
        if type(value) is dict:
            return {key: whole(item) for key, item in value.items()}
        return kept.objects[value.number] if type(value) is Ref else value

    reply(nonce, start)
    while True:
        nonce, function, positional, keywords = ask()
        reply(nonce, call)


def script(ask, answer):
    nonce, name, program = ask()
    answer('{"nonce":"' + nonce + '","value":null}')
    sys.modules[name] = module = type(sys)(name)
    exec(compile(program, "<program>", "exec"), module.__dict__)


def grader(ask, answer):
    nonce, names, modules = ask()
    space = {"__name__": "tests"}
    for name in modules:
        space[name] = __import__(name)
    for name in names:
        space[name] = stand_in(name, ask, answer)
    answer('{"nonce":"' + nonce + '","value":null}')
    while True:
        nonce, code, entry_point = ask()
        try:
            exec(compile(code, "<tests>", "exec"), space)
            if entry_point:
                space["check"](space[entry_point])
            text = '"value":true'
        except BaseException as error:
            text = '"error":' + told(error)
        answer('{"nonce":"' + nonce + '",' + text + "}")


def stand_in(name, ask, answer):
    def call(*args, **keywords):
        given = ',"args":' + many(args, None) + ',"keywords":' + encode(keywords, None)
        answer('{"call":' + quoted(name) + given + "}")
        kind, value, after = ask()
        if kind == "error":
            raise likeness(*value)
        for before, now in zip(args, after or (), strict=False):
            change(before, now)
        return value

    call.__name__ = name
    return call


def change(given, now):
    """What the program changed in its arguments is changed in the test's, too."""
    if type(given) is list and type(now) is list:
        given[:] = now
    elif type(given) in (dict, set) and type(now) is type(given):
        given.clear()
        given.update(now)


def likeness(name, words):
    kind = getattr(builtins, name, None)
    plain = isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError)
    return kind(words) if plain else RuntimeError(name + ": " + words)
