"""Tests as people write them, as cases that are passed or not one by one."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_LONGEST = 200_000  # characters of one row's tests


class BadTests(ValueError):
    """Tests that cannot be read, or in which nothing can fail."""


@dataclass(frozen=True)
class Call:
    """``function(*args)`` gives ``wanted``: compared by the parent; what is wanted never enters a sandbox."""

    function: str
    args: Sequence[Any]
    wanted: Any


@dataclass(frozen=True)
class Script:
    """The program reads ``given`` and prints ``wanted``: compared by the parent."""

    given: str
    wanted: str


@dataclass(frozen=True)
class Check:
    """Code that raises when it is not passed; then ``check(entry_point)``, where there is one. It is run beside the
    program, in a sandbox of its own."""

    code: str
    entry_point: str = ""


Case = Call | Script | Check


@dataclass(frozen=True)
class Tests:
    """Cases of one kind, in order; checks share their names, as statements of one file do."""

    cases: tuple[Case, ...] = field(default=())


def read_tests(tests: Any, entry_point: str | None = None) -> Tests:
    """The cases of a row's ``tests``. Raises BadTests.

    A text is Python: every top-level assert is a case, or the whole is one where it defines ``check`` (as HumanEval's
    do). A list holds texts, a case each (as MBPP's), or {"input", "output"}: arguments and result of the entry point,
    or what the program reads and prints where there is no entry point.
    """
    if isinstance(tests, str):
        return Tests(tuple(_of_text(tests, entry_point or "")))
    if not isinstance(tests, list) or not tests:
        raise BadTests("tests are a text, or a list of texts or of {input, output}")
    if all(isinstance(case, str) for case in tests):
        return Tests(tuple(Check(_can_fail(case)) for case in tests))
    return Tests(tuple(_of_pair(case, entry_point) for case in tests))


def _of_pair(case: Any, entry_point: str | None) -> Case:
    if not isinstance(case, dict) or not {"input", "output"} <= case.keys():
        raise BadTests("each of the tests must be a text, or each one {input, output}")
    given, wanted = case["input"], case["output"]
    if entry_point:
        return Call(entry_point, given if isinstance(given, list) else [given], wanted)
    if not isinstance(given, str) or not isinstance(wanted, str):
        raise BadTests("input and output are texts where there is no entry_point (what the program reads and prints)")
    return Script(given, wanted)


def _of_text(code: str, entry_point: str) -> list[Case]:
    body = _parsed(_can_fail(code))
    if any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in body):
        return [Check(code, "" if _calls_check(body) else _named(entry_point))]
    if not any(isinstance(node, ast.Assert) for node in body):
        return [Check(code)]
    cases: list[Case] = []
    before: list[ast.stmt] = []
    for node in body:
        before.append(node)
        if isinstance(node, ast.Assert):
            cases.append(Check("\n".join(map(ast.unparse, before))))
            before = []
    return cases  # what follows the last assert decides nothing


def _named(entry_point: str) -> str:
    if not entry_point:
        raise BadTests("the tests define check(candidate), and no entry_point says what the candidate is")
    return entry_point


def _calls_check(body: list[ast.stmt]) -> bool:
    calls = (node.value.func for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
    return any(isinstance(function, ast.Name) and function.id == "check" for function in calls)


def _can_fail(code: str) -> str:
    if not any(isinstance(node, ast.Assert | ast.Raise) for top in _parsed(code) for node in ast.walk(top)):
        raise BadTests("nothing in the tests can fail: there is no assert")
    return code


def _parsed(code: str) -> list[ast.stmt]:
    if len(code) > _LONGEST:
        raise BadTests(f"tests of more than {_LONGEST} characters")
    try:
        return ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTests(f"the tests are no Python: {error}") from None
