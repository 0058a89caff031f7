"""What counts as right: answers, printed lines and checks; and what is told of what is wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variantforge.sandbox import BadTests, Limits, grade, grade_all, inside, read_tests, run_python
from variantforge.sandbox.cases import Call, Check, Script
from variantforge.sandbox.values import NotAValue, decode, decode_line, same

sandboxed = pytest.mark.usefixtures("sandbox")

PROGRAM = """
import math

class Pair:
    def __init__(self, a, b): self.a, self.b = a, b

def add(x, y=1):
    if x > 100: raise ValueError("too big")
    return x + y

def first(pairs): return pairs[0].a
def order(items): items.sort()
def half(x): return x / 2
"""


# --- reading tests --------------------------------------------------------------------------------------------------


def test_each_assert_of_a_text_is_a_case() -> None:
    tests = read_tests("x = add(1)\nassert x == 2\nx = add(2)\nassert x == 3\nprint(x)\n")
    assert tests.cases == (Check("x = add(1)\nassert x == 2"), Check("x = add(2)\nassert x == 3"))


def test_tests_that_define_check_are_one_case() -> None:
    code = "def check(candidate):\n    assert candidate(1) == 2\n"
    assert read_tests(code, "add").cases == (Check(code, "add"),)
    called = code + "check(add)\n"
    assert read_tests(called, "add").cases == (Check(called),)


def test_lists_hold_asserts_or_pairs() -> None:
    assert read_tests(["assert add(1) == 2"]).cases == (Check("assert add(1) == 2"),)
    assert read_tests([{"input": [1, 2], "output": 3}], "add").cases == (Call("add", [1, 2], 3),)
    assert read_tests([{"input": "ab", "output": 3}], "len").cases == (Call("len", ["ab"], 3),)
    assert read_tests([{"input": "1\n", "output": "2\n"}]).cases == (Script("1\n", "2\n"),)


@pytest.mark.parametrize(
    ("tests", "entry_point", "why"),
    [
        ("assert f(", None, "no Python"),
        ("x = f(1)", None, "nothing in the tests can fail"),
        ("def check(c):\n    assert c(1)", None, "no entry_point"),
        ([], None, "a list of texts"),
        (None, None, "a list of texts"),
        ([{"input": 1}], "f", "each one {input, output}"),
        ([{"input": 1, "output": 2}], None, "texts where there is no entry_point"),
        (["assert f(1)", {"input": 1, "output": 2}], "f", "must be a text"),
        ("assert " + "(" * 5000 + "1" + ")" * 5000, None, "no Python"),
    ],
)
def test_tests_that_cannot_be_read_are_told(tests: object, entry_point: str | None, why: str) -> None:
    with pytest.raises(BadTests, match=why):
        read_tests(tests, entry_point)


# --- values ---------------------------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
keys = st.integers() | st.text() | st.booleans() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
        | st.frozensets(keys)
    ),
    max_leaves=20,
)


def shown(value: object) -> str:
    """``repr``, with sets in an order of their own."""
    if isinstance(value, set | frozenset):
        return type(value).__name__ + str(sorted(map(shown, value)))
    if isinstance(value, list | tuple):
        return type(value).__name__ + str([shown(item) for item in value])
    if isinstance(value, dict):
        return str({shown(key): shown(item) for key, item in value.items()})
    return repr(value)


@given(values)
def test_values_travel_unchanged(value: object) -> None:
    text = inside.encode(value, inside.Kept())
    assert shown(decode(decode_line(f'{{"value":{text}}}'.encode())["value"])) == shown(value)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_line_is_read_or_refused(line: bytes) -> None:
    with contextlib.suppress(NotAValue):
        decode(decode_line(line).get("value"))


@pytest.mark.parametrize(
    "line",
    [
        '{"value":{"set":[[1]]}}',
        '{"value":{"open":"x"}}',
        '{"value":{"dict":[1]}}',
        '{"value":{"float":"1e3"}}',
        '{"value":{"ref":"1"}}',
        '{"value":{"range":[1,2,0]}}',
        '{"value":{}}',
        '{"value":' + "[" * 100_000,
        '{"value":' + "9" * 5000 + "}",
        "[]",
    ],
)
def test_what_is_no_value_is_refused(line: str) -> None:
    with pytest.raises(NotAValue):
        decode(decode_line(line.encode())["value"])


def test_sameness_knows_kinds() -> None:
    assert same([1, "a", {"k": [2.5, None]}], [1, "a", {"k": [2.5, None]}])
    assert same((1, 2), [1, 2])  # JSON has one kind of list
    for value, wanted in ((1, 1.0), (1, True), (0, False), ("1", 1), ([1], [1, 2]), ({"a": 1}, {"a": True}), (None, 0)):
        assert not same(value, wanted)


# --- judging --------------------------------------------------------------------------------------------------------


@sandboxed
def test_answers_are_compared_outside() -> None:
    cases = [{"input": [1], "output": 2}, {"input": [1], "output": 3}, {"input": [101], "output": 102}]
    found = grade(PROGRAM, read_tests(cases, "add"))
    assert found.reasons == ("", "wrong answer", "ValueError: too big")
    assert (found.passed, found.share, found.whole) == (1, 1 / 3, False)
    assert grade(PROGRAM, read_tests([{"input": [4], "output": 2}], "half")).reasons == ("wrong answer",)  # 2.0


@sandboxed
def test_printed_lines_are_compared_outside() -> None:
    cases = [{"input": "4", "output": "8\n"}, {"input": "5", "output": "8"}, {"input": "x", "output": "8"}]
    reasons = grade("print(int(input()) * 2, ' ')", read_tests(cases)).reasons
    assert reasons[:2] == ("", "wrong answer")
    assert reasons[2].startswith("ValueError: invalid literal")
    assert grade("import sys\nprint(8)\nsys.exit(3)", read_tests(cases[:1])).reasons == ("exit status 3",)


@sandboxed
def test_checks_meet_the_program_through_its_answers() -> None:
    code = """
        x = add(1, y=2)
        assert x == 3
        assert half(3) == 1.5 and half(4) == 2
        try:
            add(1000)
            caught = ""
        except ValueError as error:
            caught = str(error)
        assert caught == "too big"
        items = [3, 1, 2]
        assert order(items) is None and items == [1, 2, 3]
        assert first([Pair("a", "b"), Pair(1, 2)]) == "a"
        assert math.floor(half(3)) == 1
        assert Pair(1, 2) == Pair(1, 2)
    """
    assert grade(PROGRAM, read_tests(dedent(code))).reasons == ("", "", "", "", "", "", "wrong answer")


@sandboxed
def test_checks_in_the_form_of_humaneval() -> None:
    code = "def check(candidate):\n    assert candidate(1) == 2\n    assert abs(candidate(1.5) - 2.5) < 1e-6\n"
    assert grade(PROGRAM, read_tests(code, "add")).whole
    assert grade(PROGRAM, read_tests(code, "half")).reasons == ("wrong answer",)
    assert grade(PROGRAM, read_tests(code, "nothing")).reasons == ("KeyError: 'nothing'",)


@sandboxed
def test_what_does_not_run_is_told() -> None:
    tests = read_tests(["assert f(1) == 1"])
    short = Limits(seconds=1.5)
    assert grade("def f(x): return x*", tests, short).reasons[0].startswith("SyntaxError")
    assert grade("import numpy_that_is_not_there", tests, short).reasons[0].startswith("ModuleNotFoundError")
    assert grade("def g(x): return x", tests, short).reasons == ("NameError: name 'f' is not defined",)
    assert grade("def f(x): return bytearray(10**10)", tests, short).reasons == ("MemoryError",)
    assert grade("def f(x): return f(x)", tests, short).reasons[0].startswith("RecursionError")
    assert grade("while True: pass", tests, short).reasons == ("timeout",)
    assert grade("raise SystemExit(0)", tests, short).reasons == ("SystemExit: 0",)
    assert grade("\ud800", tests, short).reasons[0].startswith("UnicodeEncodeError")


@sandboxed
def test_sets_of_texts_come_in_the_same_order_every_time() -> None:
    program = "def f(): return list({str(n) for n in range(50)})"
    assert run_python(program, [("f", [])]) == run_python(program, [("f", [])])


@sandboxed
def test_many_are_judged_in_order() -> None:
    tests = read_tests([{"input": [1], "output": 5}], "f")
    grades = grade_all([(f"def f(x): return x + {n}", tests) for n in range(8)], workers=4)
    assert [found.whole for found in grades] == [n == 4 for n in range(8)]


@settings(max_examples=15, deadline=None)
@given(st.lists(values, max_size=4))
@sandboxed
def test_whatever_goes_in_comes_out(items: list[object]) -> None:
    (result,) = run_python("def f(*args): return args", [("f", items)])
    assert shown(result) == shown(tuple(items))


@sandboxed
def test_a_run_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = dedent("""
        import json, os
        from variantforge.sandbox import box
        from variantforge.sandbox.limits import Limits
        real = box._process_one
        with box.Box("candidate", Limits(seconds=60)) as running:
            running.ask("program", "")
            print(json.loads(os.read(running._info, 4096))["child-pid"], flush=True)
            running.ask("program", "import time; time.sleep(60)")
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        first = int(parent.stdout.readline())
        watched = os.pidfd_open(first)
        parent.send_signal(signal.SIGKILL)
    for _ in range(200):
        if "State:\tZ" in _status(first) or not _status(first):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("it lives on")
    os.close(watched)


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
