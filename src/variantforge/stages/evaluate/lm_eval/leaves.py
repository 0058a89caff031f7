"""One task as its file declares it: what it asks, where its items lie, and which of its figures can be told."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variantforge.refs import Ref
from variantforge.stages.evaluate.lm_eval import harness
from variantforge.stages.evaluate.lm_eval.harness import functions_in
from variantforge.stages.evaluate.lm_eval.measures import REGISTERED, Scored, scored_in
from variantforge.stages.evaluate.suites import HubItems

LOCAL = ("./", "../", "/", "~/")
BUILDERS = ("json", "csv", "parquet", "text", "arrow")  # readers of files that the library datasets brings along


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
            str(split): [Path(os.path.normpath(self.path.parent / str(name))) for name in listed(names)]
            for split, names in by_split.items()
            if self.local and self.dataset in BUILDERS
        }


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


def listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
