"""Trackers: where metrics are sent beside ``events.jsonl``. They change no byte made, so they stand in a step's hints.

What a tracker writes on this machine lasts, in ``runs/<family>/<variant>`` beside the family file: a step's own folders
go when it is done. Only a step that reports somewhere is given that place's credentials.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from variantforge.registry import near
from variantforge.stages.stage import Desk
from variantforge.step import Step

TRACKING, RUNS = "tracking", "runs"  # hints: arguments of TRL's that say where metrics go, and a lasting folder


@dataclass(frozen=True)
class Tracker:
    """``modules``: one of them is needed. ``folder``: the variable that says where it writes; ``secrets``: those that
    let it in; ``hub``: arguments and variables with which it writes to the Hub."""

    modules: tuple[str, ...]
    folder: str = ""
    secrets: tuple[str, ...] = ()
    hub: tuple[str, ...] = ()


# The words of ``report_to``, as transformers has them.
TRACKERS = {
    "trackio": Tracker(
        ("trackio",), hub=("trackio_space_id", "trackio_bucket_id", "TRACKIO_SPACE_ID", "TRACKIO_BUCKET_ID")
    ),
    "wandb": Tracker(("wandb",), "WANDB_DIR", ("WANDB_API_KEY",)),
    "tensorboard": Tracker(("tensorboard", "tensorboardX"), "TENSORBOARD_LOGGING_DIR"),
    "mlflow": Tracker(("mlflow",), secrets=("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")),
}


def tracking_hints(desk: Desk, name: str, tracking: Mapping[str, Any]) -> dict[str, Any]:
    """The hints of a variant's train step: runs are named by family and variant, unless the user says otherwise."""
    if not tracking:
        return {}
    family = desk.family.family
    named = {"run_name": f"{family} {name}", "project": family}
    return {TRACKING: {**named, **tracking}, RUNS: str(desk.folder.absolute() / RUNS / family / name)}


def tell_missing_trackers(desk: Desk, report_to: object) -> None:
    """A problem for each tracker that is unknown, or not installed here."""
    key, known = f"{desk.at_key}.train.args.report_to", f" Known: {', '.join(TRACKERS)}."
    for name in _names(report_to):
        if name not in TRACKERS:
            desk.problem(key, f"unknown tracker '{name}'.{near(name, list(TRACKERS)) or known}")
        elif not any(find_spec(module) for module in TRACKERS[name].modules):
            desk.problem(key, f"the tracker '{name}' is not installed: pip install {TRACKERS[name].modules[0]}")


def reports_to(step: Step) -> list[Tracker]:
    names = _names(step.hints.get(TRACKING, {}).get("report_to"))
    return [TRACKERS[name] for name in names if name in TRACKERS]


def secrets_for(step: Step) -> dict[str, str]:
    """Credentials, out of this process's environment, of the trackers that a step reports to."""
    names = [name for tracker in reports_to(step) for name in tracker.secrets]
    return {name: os.environ[name] for name in names if name in os.environ}


def writes_to_hub(step: Step) -> bool:
    """Whether a tracker of the step keeps its runs on the Hub."""
    told = {**os.environ, **step.hints.get(TRACKING, {})}
    return any(told.get(name) for tracker in reports_to(step) for name in tracker.hub)


@contextmanager
def lasting_folders(step: Step) -> Iterator[None]:
    """Inside, the step's trackers write into its lasting folder, but where the user's environment says another."""
    told = {tracker.folder for tracker in reports_to(step) if tracker.folder and RUNS in step.hints} - set(os.environ)
    os.environ.update(dict.fromkeys(told, str(step.hints.get(RUNS, ""))))
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]


def _names(report_to: object) -> list[str]:
    names = report_to if isinstance(report_to, list) else [report_to]
    return [str(name) for name in names if name not in (None, "none")]
