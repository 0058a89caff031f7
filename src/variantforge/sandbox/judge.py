"""Is a generated program right? Run inside, judged outside.

The program runs in a sandbox that holds nothing but it. Calls and scripts are compared here, in the parent. Checks run
in a second sandbox, where the program's functions are stand-ins: each call travels through the parent, as plain values,
to the program's own sandbox and back. So a program can look at no test, patch no comparison, end no test early, and
print no verdict: all it can do is give answers.
"""

from __future__ import annotations

import builtins
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from variantforge.sandbox.box import Box, Ended
from variantforge.sandbox.cases import Call, Case, Check, Script, Tests
from variantforge.sandbox.limits import DEFAULT, Limits
from variantforge.sandbox.values import NotAValue, decode, same

PROGRAM = "program"  # its module's name: what stands under `if __name__ == "__main__"` is not run, but by scripts
WRONG = "wrong answer"
_MOST_NAMES = 256


@dataclass(frozen=True)
class Grade:
    """``reasons``: of each case, '' when it was passed, else why not, in some words."""

    reasons: tuple[str, ...]

    @property
    def passed(self) -> int:
        return self.reasons.count("")

    @property
    def share(self) -> float:
        """Passed cases among all, 0 to 1."""
        return self.passed / len(self.reasons)

    @property
    def whole(self) -> bool:
        return self.passed == len(self.reasons)


def grade(program: str, tests: Tests, limits: Limits = DEFAULT) -> Grade:
    """Judges one program. What it does wrong is a reason, never an exception. Raises SandboxMissing."""
    first = tests.cases[0]
    judges = {Call: _calls, Script: _scripts, Check: _checks}
    reasons = list(judges[type(first)](program, tests.cases, limits))
    return Grade(tuple(reasons))


def grade_all(
    jobs: Sequence[tuple[str, Tests]], limits: Limits = DEFAULT, *, workers: int | None = None
) -> list[Grade]:
    """``grade`` of many (program, tests), some at a time: one for each core unless ``workers`` says. In order."""

    def judged(job: tuple[str, Tests]) -> Grade:
        program, tests = job
        return grade(program, tests, limits)

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return list(pool.map(judged, jobs))


def run_python(program: str, calls: Sequence[tuple[str, Sequence[Any]]], limits: Limits = DEFAULT) -> list[Any]:
    """Results of calls of a program's functions, in order; an ``Ended`` stands for a call that gave none."""
    results: list[Any] = []
    with Box("candidate", limits) as box:
        try:
            _load(box, program)
            for function, args in calls:
                try:
                    results.append(_result(box, function, args))
                except _Raised as error:
                    results.append(Ended(str(error)))
        except Ended as end:
            results += [end] * (len(calls) - len(results))
    return results


class _Raised(Ended):
    """The program raised an exception: (its class's name, its words). It lives on."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(f"{name}: {words}" if words else name)
        self.name, self.words = name, words


def _load(box: Box, program: str) -> tuple[list[str], list[str]]:
    """Runs the program; what it defines: (names that can be called, modules it imported). Raises Ended."""
    callables, modules = _value(box.ask(PROGRAM, program), lists=2)
    return callables, modules


def _result(box: Box, function: str, args: Sequence[Any]) -> Any:
    value, _ = _value(box.ask(function, tuple(args), {}), lists=2)
    return value


def _value(reply: dict[str, Any], *, lists: int) -> Any:
    """The decoded value of a reply, a list of so many. Raises Ended."""
    if "error" in reply:
        raise _raised(reply["error"])
    try:
        value = decode(reply.get("value"))
    except NotAValue:
        raise Ended("forged reply") from None
    if not isinstance(value, list) or len(value) != lists:
        raise Ended("forged reply")
    return value


def _raised(error: Any) -> Ended:
    if not isinstance(error, list) or [type(part) for part in error] != [str, str]:
        return Ended("forged reply")
    return _Raised(error[0][:100], error[1][:500])


# --- calls and scripts: compared here -------------------------------------------------------------------------------


def _calls(program: str, cases: Sequence[Case], limits: Limits) -> Iterator[str]:
    calls = [case for case in cases if isinstance(case, Call)]
    results = run_python(program, [(case.function, case.args) for case in calls], limits)
    for case, result in zip(calls, results, strict=True):
        if isinstance(result, Ended):
            yield str(result)
        else:
            yield "" if same(result, case.wanted) else WRONG


def _scripts(program: str, cases: Sequence[Case], limits: Limits) -> Iterator[str]:
    for case in cases:
        assert isinstance(case, Script)
        try:
            with Box("script", limits, stdin=case.given.encode()) as box:
                box.ask("__main__", program)
                status, printed = box.finish()
                reason = "" if status == 0 else box.complaint or f"exit status {status}"
        except Ended as end:
            reason = str(end)
        yield reason or ("" if _lines(printed.decode(errors="replace")) == _lines(case.wanted) else WRONG)


def _lines(text: str) -> list[str]:
    """Lines without what nobody sees: spaces at their ends, empty ones at the end of all."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


# --- checks: run beside the program ---------------------------------------------------------------------------------


def _checks(program: str, cases: Sequence[Case], limits: Limits) -> Iterator[str]:
    deadline = time.monotonic() + limits.seconds
    reasons: list[str] = []
    with Box("candidate", limits, deadline=deadline) as box, Box("grader", limits, deadline=deadline) as judge:
        try:
            names, modules = _load(box, program)
            judge.ask(_visible(names), _known(modules))
            for case in cases:
                assert isinstance(case, Check)
                reasons.append(_check(judge, box, case))
        except Ended as end:
            reasons += [str(end)] * (len(cases) - len(reasons))
    yield from reasons


def _visible(names: Any) -> list[str]:
    """Names of the program that a test may call. None of them can stand in for a builtin of the test's."""
    return [name for name in _words(names) if not hasattr(builtins, name) and not name.startswith("__")]


def _known(modules: Any) -> list[str]:
    """Modules that the program imported under their own names, which tests written against it may use, too. Tests get
    the real ones."""
    return [name for name in _words(modules) if name in sys.stdlib_module_names and not hasattr(builtins, name)]


def _words(names: Any) -> list[str]:
    words = names if isinstance(names, list) else []
    return [name for name in words[:_MOST_NAMES] if isinstance(name, str) and name.isidentifier()]


def _check(judge: Box, box: Box, case: Check) -> str:
    """Why a check was not passed, or ''. Raises Ended when either side is over."""
    nonce = os.urandom(16).hex()
    judge.send(nonce, case.code, case.entry_point)
    while "call" in (reply := judge.receive()):
        judge.send(*_relayed(box, reply))
    if reply.get("nonce") != nonce:
        raise Ended("the tests broke off")
    if reply.get("value") is True:
        return ""
    error = _raised(reply.get("error"))
    return WRONG if isinstance(error, _Raised) and error.name == "AssertionError" else str(error)


def _relayed(box: Box, call: dict[str, Any]) -> tuple[str, Any, Any]:
    """One call of a test, made by the program: what the test's stand-in is answered."""
    try:
        args, keywords = decode(call.get("args")), decode(call.get("keywords"))
        value, after = _value(box.ask(call["call"], tuple(args), keywords), lists=2)
    except NotAValue:
        raise Ended("the tests broke off") from None
    except _Raised as error:
        return "error", (error.name, error.words), None
    return "value", value, after
