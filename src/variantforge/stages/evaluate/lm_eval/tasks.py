"""Which tasks a family file asks for, as far as files say it: all that planning needs, and what a measurement reads.

A task is named as the harness names it (``gsm8k``, a group such as ``mmlu``, a tag), or is a YAML file of the user's
(``./tasks/mine.yaml``). Code that a user's file names is not run: only what lies in the installed package is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from variantforge.registry import near
from variantforge.stages.evaluate.lm_eval import harness
from variantforge.stages.evaluate.lm_eval.harness import Look, TaskFileError, read_task_file
from variantforge.stages.evaluate.lm_eval.leaves import LOCAL, Leaf, listed
from variantforge.stages.evaluate.lm_eval.measures import Pooled, Scored, pooled_in
from variantforge.stages.evaluate.lm_eval.refusals import refusal
from variantforge.stages.evaluate.metric import Metric

_GROUP_KEYS = ("group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag")


@dataclass
class Suite:
    """``scored`` and ``pooled`` are what is measured; ``problems`` (place in the list, sentence) what is not."""

    leaves: dict[str, Leaf] = field(default_factory=dict)
    scored: list[Scored] = field(default_factory=list)
    pooled: list[Pooled] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        ratios = [one.as_metric for one in self.scored if one.is_ratio]
        return (*ratios, *(one.as_metric for one in self.pooled))


def read_suite(
    entries: Sequence[str], folder: Path, look: Look = lambda path: None, at: Mapping[str, Path] = MappingProxyType({})
) -> Suite:
    """The tasks that ``entries`` name; paths start in ``folder``, but for those whose file is known (``at``)."""
    suite = Suite()
    if harness.tasks_folder() is None:
        suite.problems.append((0, "lm_eval is not installed: pip install 'variantforge[lm-eval]'"))
        return suite
    for number, entry in enumerate(entries):
        try:
            path = at.get(entry) or folder / Path(entry).expanduser()
            for leaf in _asked(suite, entry, path, look):
                _add(suite, leaf)
        except TaskFileError as error:
            suite.problems.append((number, str(error)))
    return suite


def _add(suite: Suite, leaf: Leaf) -> None:
    """Raises TaskFileError for a task that cannot be measured here, or whose name is another's."""
    known = suite.leaves.setdefault(leaf.name, leaf)
    if known.path != leaf.path:
        raise TaskFileError(f"two tasks are called '{leaf.name}': {known.entry} and {leaf.entry}")
    if reason := refusal(leaf):
        raise TaskFileError(reason)


def _asked(suite: Suite, entry: str, path: Path, look: Look) -> Iterator[Leaf]:
    if entry.startswith(LOCAL):
        leaf = _local(entry, path, look)
        suite.scored += [one for one in leaf.scored if one not in suite.scored]
        yield leaf
        return
    walk = _Walk(suite, entry)
    yield from walk.named(entry, {}, pooled=False)


def _local(entry: str, path: Path, look: Look) -> Leaf:
    look(path)
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        raise TaskFileError(f"no task file {entry}.{near(path.name, beside)}")
    found = read_task_file(path, look)
    if "group" in found.config or isinstance(found.config.get("task"), list):
        raise TaskFileError(f"{entry} declares a group: list the files of its tasks under 'tasks' instead")
    if not found.config.get("task"):
        raise TaskFileError(f"{entry} declares no task: it has no key 'task'")
    return Leaf(str(found.config["task"]), entry, found.config, found.path, tuple(found.files), local=True)


class _Walk:
    """From one name in the family file to tasks, through groups and tags."""

    def __init__(self, suite: Suite, entry: str) -> None:
        self.suite, self.entry = suite, entry

    def named(self, name: str, overrides: Mapping[str, Any], *, pooled: bool) -> Iterator[Leaf]:
        """``pooled``: the figures of these tasks enter that of a group above, and are none of their own."""
        path = harness.declared(name)
        if path is None:
            yield from self._of_tag(name, overrides, pooled=pooled)
            return
        found = read_task_file(path)
        if "group" in found.config or isinstance(found.config.get("task"), list):
            yield from self._of_group(name, found.config, overrides, tuple(found.files), path, pooled=pooled)
            return
        config = {**found.config, **overrides}
        leaf = Leaf(str(config.get("task", name)), self.entry, config, path, tuple(found.files))
        if not pooled:
            self.suite.scored += [one for one in leaf.scored if one not in self.suite.scored]
        yield leaf

    def _of_tag(self, name: str, overrides: Mapping[str, Any], *, pooled: bool) -> Iterator[Leaf]:
        tasks = harness.index().tags.get(name)
        if not tasks:
            hint = near(name, harness.index().names)
            raise TaskFileError(f"no task, group or tag of lm_eval {harness.version()} is called '{name}'.{hint}")
        for task in sorted(tasks):
            yield from self.named(task, overrides, pooled=pooled)

    def _of_group(
        self,
        name: str,
        config: Mapping[str, Any],
        overrides: Mapping[str, Any],
        files: tuple[Path, ...],
        path: Path,
        *,
        pooled: bool,
    ) -> Iterator[Leaf]:
        below = {key: value for key, value in config.items() if key not in _GROUP_KEYS} | dict(overrides)
        aggregates = bool(config.get("aggregate_metric_list")) and not pooled
        members: list[Leaf] = []
        for item in listed(config.get("task")):
            members += self._member(name, item, below, files, path, pooled=pooled or aggregates)
        if aggregates:
            self.suite.pooled += pooled_in(name, config, [member.scored for member in members])
        for member in members:
            yield Leaf(member.name, member.entry, member.config, member.path, (*files, *member.files))

    def _member(
        self,
        group: str,
        item: Any,
        overrides: Mapping[str, Any],
        files: tuple[Path, ...],
        path: Path,
        *,
        pooled: bool,
    ) -> Iterator[Leaf]:
        if isinstance(item, str):
            yield from self.named(item, overrides, pooled=pooled)
            return
        if not isinstance(item, dict):
            raise TaskFileError(f"the group '{group}' lists something that is no task: {item!r}")
        if "group" in item:
            inner = str(item["group"])
            if harness.declared(inner) is not None:
                own = {key: value for key, value in item.items() if key != "group"}
                yield from self.named(inner, {**overrides, **own}, pooled=pooled)
            else:
                yield from self._of_group(f"{group}::{inner}", item, overrides, files, path, pooled=pooled)
            return
        name = str(item.get("task"))
        if harness.declared(name) is not None or name in harness.index().tags:
            yield from self.named(name, {**overrides, **item}, pooled=pooled)
            return
        leaf = Leaf(f"{group}::{name}", self.entry, {**overrides, **item, "task": f"{group}::{name}"}, path, files)
        if not pooled:
            self.suite.scored += [one for one in leaf.scored if one not in self.suite.scored]
        yield leaf
