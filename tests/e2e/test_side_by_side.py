"""Formats made side by side, each in a process of its own: the bytes of a run one after another, a kill in the midst of
it included."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.kills import digests
from tests.forks import forks_of
from tests.run.toys import toy_plan
from variantforge.plan.plan import Plan
from variantforge.run.isolated import PRELOAD, Isolated
from variantforge.run.results import Result, Silent
from variantforge.run.runner import run_plan
from variantforge.stages.quantize.quantizer import quantize_step
from variantforge.step import Step
from variantforge.store.artifacts import Store

pytestmark = pytest.mark.slow

MERGE = Step("merge", 1, "toy", {"name": "merge"})
FORMATS = ("nf4", "int8")


def plan() -> Plan:
    return toy_plan(MERGE, *(quantize_step(name, "", {"model": MERGE.key}, name=name) for name in FORMATS))


def store_with(model: Path, folder: Path) -> Store:
    """A store that holds the merged model."""
    store = Store(folder)
    with store.building(MERGE) as (out, _):
        shutil.copytree(model, out / "model")
        (out / "facts.json").write_text("{}")
        store.commit(MERGE, out, {"started": 0, "seconds": 0, "notes": [], "label": "merge"})
    return store


class Watch(Silent):
    """How many steps were at work at once, at most."""

    def __init__(self, *, telling: bool = False) -> None:
        self.telling, self.at_work, self.most = telling, 0, 0

    def step_started(self, key: str, label: str) -> None:
        self.at_work += 1
        self.most = max(self.most, self.at_work)

    def step_ended(self, key: str, label: str, result: Result) -> None:
        self.at_work -= 1

    def event(self, key: str, event: Mapping[str, object]) -> None:
        if self.telling:
            print(self.at_work, flush=True)  # noqa: T201 - read by the test that kills this process


def made(store: Store, parallel: int) -> tuple[dict[str, str], int]:
    """What the formats are, byte for byte, and how many were at work at once."""
    forks_of(*PRELOAD)
    watch = Watch()
    report = run_plan(plan(), store, heavy=Isolated, parallel=parallel, reporter=watch)
    assert report.error is None, report.error
    bytes_of = {name: digest for name, digest in digests(store.root / "quantize").items() if "manifest" not in name}
    return bytes_of, watch.most


def test_the_bytes_are_those_of_a_run_one_after_another_also_after_a_kill(tiny_llama: Path, tmp_path: Path) -> None:
    serial, alone = made(store_with(tiny_llama, tmp_path / "serial"), 1)
    store = store_with(tiny_llama, tmp_path / "killed")
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.e2e.test_side_by_side import Isolated, Store, Watch, plan, run_plan\n"
        "watch = Watch(telling=True)\n"
        "run_plan(plan(), Store(Path(sys.argv[1])), heavy=lambda: Isolated([]), parallel=2, reporter=watch)"
    )
    running = subprocess.Popen([sys.executable, "-c", script, str(store.root)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert any(line.strip() == "2" for line in running.stdout)  # both are at work
    running.kill()
    running.communicate()
    again, together = made(store, 2)
    assert (alone, together) == (1, 2)
    assert again == serial
    assert len(serial) > 2 * len(FORMATS)
