"""``evaluator: lm_eval``: tasks of EleutherAI's lm-evaluation-harness, or task files of the user's in its form."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from variantforge.errors import EvaluateError
from variantforge.hashing import file_digest, tree_digest
from variantforge.refs import Ref
from variantforge.spec.family import Section
from variantforge.stages.evaluate.evaluation import Measured
from variantforge.stages.evaluate.lm_eval import harness
from variantforge.stages.evaluate.lm_eval.leaves import LOCAL, Leaf, hub_dataset, role_of_dataset, role_of_task
from variantforge.stages.evaluate.lm_eval.sizes import size_of
from variantforge.stages.evaluate.lm_eval.tasks import Suite, read_suite
from variantforge.stages.evaluate.metric import Metric, method_of
from variantforge.stages.evaluate.suites import HubItems, Named
from variantforge.stages.stage import Desk
from variantforge.step import Pin, Step, StepContext


class LmEvalParams(Section):
    """What a user may write beside ``evaluator: lm_eval``. Names and defaults are those of the harness's command."""

    tasks: list[str] = Field(min_length=1, description="tasks, groups and tags of the harness, and ./files.yaml")
    num_fewshot: int | None = Field(None, ge=0, description="worked examples before each question; a task's own number")
    limit: int | float | None = Field(None, gt=0, description="items of each task; below 1, a share of them")
    apply_chat_template: bool = Field(False, description="ask through the model's chat template")
    fewshot_as_multiturn: bool = Field(True, description="in a chat, each worked example is a turn of its own")
    system_instruction: str | None = Field(None, description="what stands before everything else")
    gen_kwargs: dict[str, Any] = Field({}, description="over a task's generation_kwargs: max_gen_toks, until, ...")
    random_seed: int = Field(0, description="of Python's random numbers")
    numpy_random_seed: int = Field(1234, ge=0, description="of numpy's")
    torch_random_seed: int = Field(1234, description="of torch's, and of sampled answers")
    fewshot_random_seed: int = Field(1234, description="of the choice of worked examples")
    max_length: int | None = Field(None, ge=2, description="tokens that the model reads; as its config says")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision in which torch computes")


class LmEval:
    """Scores of tasks, one row per item. Likelihoods are torch's for every subject, answers those of the runtime that
    its users will run."""

    Params = LmEvalParams
    METRICS: tuple[Metric, ...] = ()  # they stand in the task files
    heavy = True

    def metrics(self, params: LmEvalParams, subject: str) -> tuple[Metric, ...]:
        return self.metrics_in(params, subject, Path())

    def metrics_in(self, params: LmEvalParams, subject: str, folder: Path) -> tuple[Metric, ...]:
        suite = read_suite(params.tasks, folder)
        return () if suite.problems else suite.metrics

    def suite_files_in(self, params: LmEvalParams, folder: Path) -> Mapping[str, str]:
        """The items of the user's own tasks."""
        suite = read_suite(params.tasks, folder)
        return {
            f"tasks[{params.tasks.index(leaf.entry)}]": _relative(file, folder)
            for leaf in suite.leaves.values()
            for file in leaf.items()
        }

    def task_pins(self, params: LmEvalParams) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        for entry in params.tasks:
            if entry.startswith(LOCAL):
                yield entry, role_of_task(entry), (f"files:{entry}", f"data:{entry}")

    def hub_items_in(self, params: LmEvalParams, folder: Path) -> list[HubItems]:
        return [items for leaf in read_suite(params.tasks, folder).leaves.values() if (items := leaf.hub_items())]

    def named_suites(self, params: LmEvalParams, folder: Path) -> Mapping[str, Named]:
        """Left out: tasks of several files, and those that make other items of the ones that they read."""
        leaves = read_suite(params.tasks, folder).leaves
        return {name: named for name, leaf in leaves.items() if (named := _named(leaf, folder))}

    def named_metrics(self, params: LmEvalParams, subject: str, folder: Path) -> tuple[Metric, ...]:
        suite, named = read_suite(params.tasks, folder), self.named_suites(params, folder)
        found = [one.as_metric for one in suite.scored if one.is_ratio and one.task in named]
        return (*found, *(one.as_metric for one in suite.pooled if all(part.task in named for part in one.parts)))

    def datasets(self, params: LmEvalParams) -> Mapping[str, Ref]:
        suite = read_suite([entry for entry in params.tasks if not entry.startswith(LOCAL)], Path())
        refs = {leaf.dataset: hub_dataset(leaf) for leaf in suite.leaves.values()}
        return {role_of_dataset(ref.name): ref for ref in refs.values() if ref and "/" in ref.name}

    def needs(self, params: LmEvalParams, subject: str) -> tuple[str, ...]:
        return ("reference",) if method_of(subject) == "gguf" else ()

    def identity(self, params: LmEvalParams, subject: str) -> dict[str, Any]:
        return {**params.identity(), "lm_eval": harness.version()}

    def pins(self, desk: Desk, params: LmEvalParams, key: str) -> Mapping[str, Pin] | None:
        suite = read_suite(params.tasks, desk.folder, desk.look)
        for number, text in suite.problems:
            desk.problem(f"{key}.tasks[{number}]", text)
        if suite.problems:
            return None
        found = {role: _pinned(desk, what, f"{key}.tasks") for role, what in _pinnable(suite, params.tasks).items()}
        pins = {role: pin for role, pin in found.items() if pin}
        return pins if len(pins) == len(found) else None

    def size(self, step: Step, metric: str) -> tuple[int | None, bool]:
        params = _params(step)
        return size_of(_pinned_suite(step, params), metric, params.limit)

    def evaluate(self, context: StepContext) -> Measured:
        params = _params(context.step)
        suite = _as_planned(context, params)
        from variantforge.stages.evaluate.lm_eval.measuring import measure

        return measure(context, params, suite)


def _relative(file: Path, folder: Path) -> str:
    return f"./{os.path.relpath(file, folder)}"


def _named(leaf: Leaf, folder: Path) -> Named | None:
    """How decontamination calls the items of a task, where they can be found again in what was measured."""
    files, items = leaf.items(), leaf.hub_items()
    if items is not None:
        return None if leaf.config.get("process_docs") else Named(items.name, "id")
    return Named(_relative(files[0], folder), "item") if len(files) == 1 else None


# --- what is pinned ---------------------------------------------------------------------------------------------


def _pinnable(suite: Suite, entries: Iterable[str]) -> dict[str, Ref | list[Path]]:
    """Role -> what a suite rests on: the file of each entry of the user's and what it reads, the harness's files of
    every other entry, datasets of the Hub."""
    found: dict[str, Ref | list[Path]] = {}
    for entry in entries:
        leaves = [leaf for leaf in suite.leaves.values() if leaf.entry == entry]
        files = {file for leaf in leaves for file in (*leaf.files, *leaf.code())}
        if entry.startswith(LOCAL):
            found[role_of_task(entry)] = Ref("path", entry)
            files -= {leaf.path for leaf in leaves}
        if files:
            found[f"files:{entry}"] = sorted(files)
        for leaf in leaves:
            data = sorted({file for files in leaf.data_files().values() for file in files})
            if data:
                found[f"data:{entry}"] = data
            elif ref := hub_dataset(leaf):
                found[role_of_dataset(ref.name)] = ref
    return found


def _pinned(desk: Desk, what: Ref | list[Path], key: str) -> Pin | None:
    if isinstance(what, list):
        return desk.pin_files(what, key=key)
    return desk.pin(what, key=key, dataset=True) if what.kind == "hub" else desk.pin(what, key=key)


def _params(step: Step) -> LmEvalParams:
    return LmEvalParams(**{name: value for name, value in step.params.items() if name != "lm_eval"})


def _pinned_suite(step: Step, params: LmEvalParams) -> Suite:
    """The tasks, read from where they were pinned."""
    local = [entry for entry in params.tasks if entry.startswith(LOCAL)]
    return read_suite(params.tasks, Path(), at={entry: Path(step.pins[role_of_task(entry)].at) for entry in local})


def _as_planned(context: StepContext, params: LmEvalParams) -> Suite:
    """The tasks, read from where they were pinned. Raises EvaluateError when they are no longer what was planned."""
    pins, suite = context.step.pins, _pinned_suite(context.step, params)
    again = "run the same command again: it plans with the files as they are"
    if suite.problems:
        raise EvaluateError(suite.problems[0][1], next=again)
    for role, what in _pinnable(suite, params.tasks).items():
        if role not in pins or not _is(what, pins[role]):
            raise EvaluateError(f"{role.partition(':')[2]} was changed since this was planned", next=again)
    return suite


def _is(what: Ref | list[Path], pin: Pin) -> bool:
    """Whether what lies there now is what was pinned; of the Hub, the commit says so."""
    try:
        if isinstance(what, list):
            under = {file.relative_to(pin.at).as_posix(): file for file in what}
            return tree_digest({name: file_digest(file) for name, file in under.items()}) == pin.digest
        return what.kind == "hub" or file_digest(Path(pin.at)) == pin.digest
    except (OSError, ValueError):
        return False
