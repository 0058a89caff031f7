"""Which tasks a family file asks for, as far as files say it: all that planning needs, and what a measurement reads.

A task is named as the harness names it (``gsm8k``, a group such as ``mmlu``, a tag), or is a YAML file of the user's
(``./tasks/mine.yaml``). Code that a user's file names is not run: only what lies in the installed package is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from variantforge.refs import Ref
from variantforge.registry import near
from variantforge.stages.evaluate.lm_eval import harness
from variantforge.stages.evaluate.lm_eval.harness import Look, TaskFileError, functions_in, read_task_file
from variantforge.stages.evaluate.lm_eval.measures import DEFAULTS, REGISTERED, Pooled, Scored, pooled_in, scored_in
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.evaluate.suites import HubItems

LOCAL = ("./", "../", "/", "~/")
BUILDERS = ("json", "csv", "parquet", "text", "arrow")  # readers of files that the library datasets brings along
_GROUP_KEYS = ("group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag")
_ADDRESS = re.compile(r"^[a-z0-9+]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Leaf:
    """One task. ``entry``: what stands in the family file; ``local``: it is a file of the user's."""

    name: str
    entry: str
    config: Mapping[str, Any]
    path: Path
    files: tuple[Path, ...]
    local: bool = False

    @property
    def dataset(self) -> str:
        return str(self.config.get("dataset_path") or "")

    @property
    def scored(self) -> list[Scored]:
        return scored_in(self.name, {**self.config, "metric_list": self.metric_list})

    @property
    def metric_list(self) -> list[dict[str, Any]] | None:
        """Without metrics whose code lies on the Hub: it is not run."""
        listed: list[dict[str, Any]] | None = self.config.get("metric_list")
        return None if listed is None else [one for one in listed if not _is_fetched(one, self.config)]

    def code(self) -> list[Path]:
        """The harness's modules that it names."""
        found = {harness.code_of(function) for function in functions_in(dict(self.config))}
        return sorted(module for module in found if module)

    def items(self) -> list[Path]:
        """Those of the user's files that hold what is asked."""
        asked = self.config.get("test_split") or self.config.get("validation_split")
        return self.data_files().get(str(asked), [])

    def hub_items(self) -> HubItems | None:
        """Those that lie on the Hub."""
        ref, split = hub_dataset(self), self.config.get("test_split") or self.config.get("validation_split")
        if ref is None or not split:
            return None
        told = self.config.get("dataset_kwargs") or {}
        kwargs = {key: value for key, value in told.items() if key not in ("revision", "trust_remote_code")}
        return HubItems(self.name, ref, self.config.get("dataset_name"), str(split), kwargs)

    def data_files(self) -> dict[str, list[Path]]:
        """Split -> files of the user's that it reads; {} for a dataset of the Hub."""
        told = (self.config.get("dataset_kwargs") or {}).get("data_files") or {}
        by_split = told if isinstance(told, dict) else {"train": told}
        return {
            str(split): [Path(os.path.normpath(self.path.parent / str(name))) for name in _listed(names)]
            for split, names in by_split.items()
            if self.local and self.dataset in BUILDERS
        }


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
        suite.problems.append((0, "lm_eval is not installed: pip install 'variantforge[evaluate]'"))
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
        for item in _listed(config.get("task")):
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


# --- what is not measured here ----------------------------------------------------------------------------------


def refusal(leaf: Leaf) -> str:
    """Why a task is not measured here, and what to do instead; '' when it is."""
    config, told = leaf.config, leaf.entry if leaf.local else leaf.name
    if config.get("unsafe_code"):
        return f"{told} runs the code that a model writes, in this process: use 'evaluator: code', which has a sandbox"
    if "class" in config:
        return f"{told} is written in Python: its metrics are not known before it runs"
    if leaf.local and (why := _foreign(leaf)):
        return f"{told} {why}"
    if config.get("custom_dataset"):
        return f"{told} makes its data with code of its own, which cannot be pinned"
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        return f"{told} shows images or plays sounds, and these models read text"
    if missing := sorted({name for module in leaf.code() for name in harness.missing_modules(module)}):
        return f"{told} needs {', '.join(missing)}, which is not installed: pip install {' '.join(missing)}"
    if config.get("use_prompt"):
        return f"{told} takes its prompts from promptsource, which is not part of lm_eval any more"
    if why := _data(leaf):
        return f"{told} {why}"
    if not any(one.is_ratio for one in leaf.scored):
        return f"{told} has no metric that is a mean over items ({_told_metrics(leaf)}): nothing can be judged by it"
    return ""


def _foreign(leaf: Leaf) -> str:
    """Code that a user's file would have run here: it may do anything."""
    if found := sorted({function.name for function in functions_in(dict(leaf.config))}):
        return (
            f"runs Python code of its own ({', '.join(found)}), which is not done outside the sandbox: "
            "write templates ({{question}}) and the harness's filters and metrics instead"
        )
    if unknown := sorted({str(one.get("metric")) for one in leaf.config.get("metric_list") or []} - REGISTERED.keys()):
        return f"asks for {', '.join(unknown)}, which is none of {', '.join(REGISTERED)}"
    if str(leaf.config.get("output_type") or "generate_until") not in DEFAULTS:
        return f"has no output_type that there is: {', '.join(DEFAULTS)}"
    return ""


def _data(leaf: Leaf) -> str:
    """What is wrong with where a task's data come from."""
    kwargs = leaf.config.get("dataset_kwargs") or {}
    if not isinstance(kwargs, dict):
        return "has dataset_kwargs that are no mapping"
    if not leaf.dataset:
        return "names no dataset_path"
    names = [str(name) for names in _by_split(kwargs.get("data_files")).values() for name in names]
    if addresses := [name for name in names if _ADDRESS.match(name)]:
        return f"reads {addresses[0]}: an address may hold anything tomorrow; download it and name the file"
    if leaf.dataset in BUILDERS:
        if not names:
            return f"reads {leaf.dataset} files and names none: dataset_kwargs: {{data_files: {{test: ./items.jsonl}}}}"
        if not leaf.local:
            return "reads files that do not come with the harness"
        missing = [name for name in names if not (leaf.path.parent / name).is_file()]
        return f"reads {missing[0]}, which is not beside it" if missing else ""
    if leaf.dataset.startswith(LOCAL):
        return f"reads the folder {leaf.dataset}: write dataset_path: json and its files under data_files"
    return "" if hub_dataset(leaf) else f"names the dataset '{leaf.dataset}', which is no id of the Hub (org/name)"


def hub_dataset(leaf: Leaf) -> Ref | None:
    """The dataset of the Hub that a task reads, with the revision that it names."""
    if leaf.dataset in BUILDERS or not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", leaf.dataset):
        return None
    return Ref("hub", leaf.dataset, (leaf.config.get("dataset_kwargs") or {}).get("revision"))


def role_of_task(entry: str) -> str:
    """The pin of a task file of the user's."""
    return f"task:{entry}"


def role_of_dataset(name: str) -> str:
    """The pin of a dataset of the Hub."""
    return f"data:{name}"


def _is_fetched(entry: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether the harness would load a metric's code from the Hub."""
    if config.get("process_results"):
        return False
    metric = entry.get("metric")
    return bool(entry.get("hf_evaluate")) or (isinstance(metric, str) and metric not in REGISTERED)


def _told_metrics(leaf: Leaf) -> str:
    listed = leaf.config.get("metric_list") or []
    return ", ".join(str(getattr(one.get("metric"), "name", one.get("metric"))) for one in listed) or "none listed"


def _by_split(data_files: Any) -> dict[str, list[Any]]:
    by_split = data_files if isinstance(data_files, dict) else {"train": data_files}
    return {str(split): _listed(names) for split, names in by_split.items()}


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
