"""How long a training will take: its arithmetic, over the speed at which this store's own trainings were done.

Nothing is assumed of a machine: where no training of the same method was done on one like this, the time is unknown.
"""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variantforge.fsops import read_small
from variantforge.plan.estimate.machine import cores
from variantforge.plan.estimate.recipe import Recipe
from variantforge.plan.estimate.rows import Rows
from variantforge.plan.estimate.shape import Shape
from variantforge.stages.rows import TRAIN

_NEWEST = 12  # trainings looked at


@dataclass(frozen=True)
class Past:
    """One training of the store. ``around_s``: loading and saving. ``bytes_per_token`` of its rows on disk."""

    method: str
    data: str
    base: str
    tokens: int
    tokens_per_epoch: float
    train_s: float
    around_s: float
    bytes_per_token: float | None
    args: Mapping[str, Any]
    adapter: Mapping[str, Any]


def flops_per_token(shape: Shape, recipe: Recipe) -> float:
    """Two operations for each weight a token meets, forward; as many again for the gradients of its activations, and
    again for those of the weights where they are trained (Kaplan et al., 2001.08361, section 2.1). Attention meets
    half of ``length`` tokens on average. Checkpointing does the body's forward twice."""
    body, head = 2.0 * shape.active_linear_elements, 2.0 * shape.head_elements
    attention = 2.0 * shape.layers * shape.query * recipe.length
    passes = 3 if recipe.full else 2
    return passes * (body + head) + 3 * attention + (body + attention if recipe.checkpointing else 0.0)


def tokens_of(recipe: Recipe, rows: Rows | None, data: str, past: list[Past]) -> float | None:
    """How many tokens a training will read; None where that is not known."""
    epoch = _tokens_of_epoch(recipe, rows, data, past)
    steps = int(recipe.args.get("max_steps", -1))
    if steps > 0:
        rows_in_all = steps * recipe.accumulation * int(recipe.args["per_device_train_batch_size"])
        if recipe.packing:
            return float(rows_in_all * recipe.length)
        return rows_in_all * epoch / rows.count if epoch and rows and rows.count else None
    return None if epoch is None else epoch * float(recipe.args.get("num_train_epochs", 1))


def _tokens_of_epoch(recipe: Recipe, rows: Rows | None, data: str, past: list[Past]) -> float | None:
    """As counted when the same rows were trained on; else by the bytes a token took in other rows."""
    for one in past:
        if one.data == data and one.args.get("max_length") == recipe.args.get("max_length"):
            return one.tokens_per_epoch
    ratios = [one.bytes_per_token for one in past if one.bytes_per_token]
    if rows is None or not ratios:
        return None
    return min(rows.size_bytes / statistics.median(ratios), float(rows.count * recipe.length))


def past_trainings(root: Path) -> list[Past]:
    """The newest trainings of a store that were done on a machine like this one, newest first."""
    return list(_read_all(root))


def _read_all(root: Path) -> Iterator[Past]:
    here = {"system": platform.system(), "processor": platform.machine(), "cores": cores()}
    for folder in _newest(root / "train"):
        try:
            manifest = json.loads((folder / "manifest.json").read_bytes())
            if manifest["made"]["machine"] == here:
                yield _past(root, folder, manifest)
        except (OSError, ValueError, KeyError, TypeError, IndexError, ZeroDivisionError):
            continue  # a damaged memory is none


def _newest(shelf: Path) -> list[Path]:
    try:
        folders = [(path.stat().st_mtime, path) for path in shelf.iterdir() if "." not in path.name]
    except OSError:
        return []
    return [path for _, path in sorted(folders, reverse=True)[:_NEWEST]]


def _past(root: Path, folder: Path, manifest: Mapping[str, Any]) -> Past:
    facts, step = json.loads(read_small(f"{folder}/facts.json")), manifest["step"]
    last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    train_s, data = float(last["train_runtime"]), step["inputs"]["data"]
    epoch = facts["tokens"] / facts["epochs"]
    return Past(
        method=step["method"],
        data=data,
        base=step["inputs"]["base"],
        tokens=int(facts["tokens"]),
        tokens_per_epoch=epoch,
        train_s=train_s,
        around_s=max(0.0, float(manifest["made"]["seconds"]) - train_s),
        bytes_per_token=_bytes(root, data) / epoch if not facts.get("rows_cut") else None,
        args=facts["args"],
        adapter=step["params"]["adapter"],
    )


def _bytes(root: Path, data: str) -> float:
    return float((root / "data" / data / TRAIN).stat().st_size)
