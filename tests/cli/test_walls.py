"""``vf plan`` and ``vf apply`` of families that run what a model writes, on a machine without a sandbox."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.plan.families import fill, write_base
from variantforge import Resolver, build_plan, load_family
from variantforge.errors import SandboxMissing
from variantforge.plan.plan import Plan
from variantforge.plan.walls import runs_generated_code
from variantforge.sandbox import bubblewrap, probes
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.train.rewards import REWARDS

FAMILY = """\
family: programs
base: {model: ./base, license: apache-2.0}
datasets:
  rows: {path: ./rows.jsonl, format: prompt_completion, license: mit}
  asked: {path: ./asked.jsonl, format: prompt_only, license: mit}
variants:
  one: {kind: code, data: {mix: {rows: 1}}}
  two: {kind: domain, data: {mix: {asked: 1}}, train: {method: grpo, rewards: [{reward: REWARD}]}}
evaluate: {EVALUATE}
publish: {path: ./published}
"""
MEASURED = "python: {evaluator: code, path: ./problems.jsonl}, "
_started: list[str] = []
_watching = False


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event in ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec"):
        _started.append(f"{event} {arguments[:1]}")


@pytest.fixture
def started() -> Iterator[list[str]]:
    """What processes were started."""
    global _watching
    if not _watching:
        sys.addaudithook(_hear)  # one cannot be taken away again; it hears nothing outside of these tests
    _started.clear()
    _watching = True
    yield _started
    _watching = False


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without bubblewrap, on which nothing was tried yet."""
    bubblewrap.program.cache_clear()
    monkeypatch.setattr(probes, "try_probes", probes.try_probes.__wrapped__)
    monkeypatch.setenv("PATH", "/nowhere")
    yield
    bubblewrap.program.cache_clear()


def write_family(folder: Path, *, reward: str = "exact_answer", evaluate: str = "") -> Path:
    (folder / "base").mkdir(exist_ok=True)
    write_base(folder / "base")
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (folder / "asked.jsonl").write_text('{"prompt": "2 + 2?", "answer": "4"}\n')
    problem = {"prompt": "Add two numbers.", "tests": "assert add(1, 2) == 3", "entry_point": "add"}
    (folder / "problems.jsonl").write_text(json.dumps(problem) + "\n")
    text = FAMILY.replace("{EVALUATE}", "{" + f"{evaluate}parity: off" + "}").replace("REWARD", reward)
    (folder / "family.yaml").write_text(text)
    return folder / "family.yaml"


def plan_of(file: Path) -> Plan:
    return build_plan(load_family(file), Resolver(None))


def test_one_evaluator_and_one_reward_run_what_a_model_wrote() -> None:
    """Who else does must say so, and be added here."""
    evaluators = {name for name in EVALUATORS if getattr(EVALUATORS.load(name), "sandboxed", False)}
    rewards = {name for name in REWARDS if getattr(REWARDS.load(name), "sandboxed", False)}
    assert (evaluators, rewards) == ({"code"}, {"unit_tests"})


def test_the_steps_that_need_walls_are_those_that_run_generated_code(tmp_path: Path) -> None:
    plan = plan_of(write_family(tmp_path, reward="unit_tests", evaluate=MEASURED))
    in_need = {plan.label(key) for key, step in plan.steps.items() if runs_generated_code(step)}
    evaluations = {place for place in plan.places if place.stage == "evaluate"}
    assert in_need == {"train two", *(plan.label(plan.places[place]) for place in evaluations)}


@pytest.mark.usefixtures("bare")
def test_without_a_sandbox_plan_ends_with_7_and_apply_runs_nothing(vf: Vf, tmp_path: Path) -> None:
    write_family(tmp_path, evaluate=MEASURED)
    planned = vf("plan")
    assert planned.code == 7
    assert "evaluate python:merged" in planned.out  # all is shown; the refusal comes last
    assert "would run code that a model writes, and so would 2 more" in planned.err
    assert "bubblewrap (bwrap) is not installed" in planned.err
    assert "vf apply --until quantize" in planned.err
    assert json.loads(vf("plan", "--json").out)["error"]["kind"] == "SandboxMissing"
    assert "**Refused:**" in vf("plan", "--markdown").out
    applied = vf("apply")
    assert applied.code == 7
    assert applied.err.count("Nothing was run.") == 1
    assert not (tmp_path / ".variantforge" / "data").exists()


@pytest.mark.usefixtures("bare")
def test_a_reward_that_runs_answers_is_refused_before_its_data_are_read(vf: Vf, tmp_path: Path) -> None:
    write_family(tmp_path, reward="unit_tests")
    planned = vf("plan")
    assert planned.code == 7
    assert "train two would run code that a model writes, and" in planned.err
    assert "vf apply --until data" in planned.err
    assert vf("plan", "--only", "one").code == 0


@pytest.mark.usefixtures("bare")
def test_only_what_would_really_run_is_refused(vf: Vf, tmp_path: Path) -> None:
    file = write_family(tmp_path, evaluate=MEASURED)
    assert vf("plan", "--until", "quantize").code == 0
    fill(plan_of(file), tmp_path / ".variantforge")
    ended = vf("plan")
    assert ended.code == 0, ended.err


def test_a_family_without_such_steps_starts_no_process(vf: Vf, tmp_path: Path, started: list[str]) -> None:
    write_family(tmp_path)
    assert vf("plan").code == 0
    assert started == []
    write_family(tmp_path, evaluate=MEASURED)
    vf("plan", "--until", "quantize")
    assert started == []


def test_the_walls_are_tried_once_in_a_process(vf: Vf, tmp_path: Path, started: list[str]) -> None:
    probes.try_probes.cache_clear()
    try:
        probes.require()
    except SandboxMissing as error:
        pytest.skip(f"{error.why}; type: {error.next}")
    probes.try_probes.cache_clear()
    write_family(tmp_path, evaluate=MEASURED)
    assert vf("plan").code == 0
    once = len(started)
    assert once
    assert vf("plan").code == 0
    assert len(started) == once
