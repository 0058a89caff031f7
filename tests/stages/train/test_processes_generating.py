"""Several processes distill, and learn from rewards: as one would, and each with answers of its own.

Where answers are those of rows, or given, the result is that of one process within test_processes' tolerance. Sampled
answers are others than one process would have sampled; what must hold of them is told below.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.conftest import sandbox  # noqa: F401
from tests.stages.train import planted
from tests.stages.train.lab import adapter_bytes, losses
from tests.stages.train.small_words import IM_END, small_model
from tests.stages.train.test_distill import ROWS, School, opinionated
from tests.stages.train.test_grpo import Graded, events, prompts, samples
from tests.stages.train.test_processes import (
    FSDP,
    LOSSES,
    MICRO,
    STEPS,
    assert_same,
    plant,
    shares,
    stop_after,
)
from variantforge.errors import Interrupted
from variantforge.stages.rows import make_row
from variantforge.stages.train.generating import Generating
from variantforge.step import Step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]

DIVERGENCES = 1e-4  # a divergence is a small difference of large numbers; seen is 1e-5


# --- distill --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> School:
    root = tmp_path_factory.mktemp("together")
    return School(root, tiny_llama, opinionated(root / "opinionated"))


def lesson(school: School, params: dict[str, Any] | None = None, **args: Any) -> Step:
    return school.lesson(params, bf16=False, **args)


@pytest.mark.parametrize(("name", "hints"), [("ddp", {}), ("fsdp2", FSDP)])
def test_two_processes_come_as_near_to_the_teacher_as_one(school: School, name: str, hints: dict[str, Any]) -> None:
    step = lesson(school, ROWS, max_completion_length=64, num_train_epochs=1)
    one, two = school.taught(step, "one"), school.taught(shares(step, **hints), name)
    assert_same(two, one, losses_within=DIVERGENCES)
    told, alone = two.facts["objective"], one.facts["objective"]
    assert told["kl"] == pytest.approx(alone["kl"], rel=DIVERGENCES)
    assert told["kl"]["last"] < 0.9 * told["kl"]["first"]


@pytest.mark.parametrize(("name", "hints"), [("ddp", {}), ("fsdp2", FSDP)])
def test_two_students_answers_are_learned_from_and_a_stopped_run_goes_on(
    school: School, name: str, hints: dict[str, Any]
) -> None:
    step = shares(lesson(school, {"adapter": {"dropout": 0.1}}, num_train_epochs=1), **hints)
    whole = school.taught(step, f"{name}-whole")
    told = whole.facts["objective"]
    assert told["kl"]["last"] < 0.97 * told["kl"]["first"]
    with pytest.raises(Interrupted, match="training stopped at step"):
        school.taught(step, f"{name}-stopped", **stop_after(school, 2))
    again = school.taught(step, f"{name}-stopped")
    assert losses(again) == losses(whole)
    assert adapter_bytes(again) == adapter_bytes(whole)
    assert again.facts == whole.facts


# --- grpo -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Graded:
    root = tmp_path_factory.mktemp("graded")
    return Graded(root, small_model(root / "model"), prompts(), stop_token_ids=[IM_END])


@pytest.mark.parametrize(("name", "hints"), [("ddp", {}), ("fsdp2", FSDP)])
def test_the_same_answers_move_two_processes_as_they_move_one(
    lab: Graded, monkeypatch: pytest.MonkeyPatch, name: str, hints: dict[str, Any]
) -> None:
    step = lab.reward(bf16=False)
    monkeypatch.setattr(Generating, "_generate_single_turn", Generating._generate_single_turn)
    planted.give_answers(planted.a_few_words)
    one = lab.train(step, "one")
    plant(monkeypatch, "given answers")
    two = lab.train(shares(step, **hints), name)
    for ours, theirs in zip(events(two), events(one), strict=True):
        for metric in ("reward", "reward_std", "grad_norm", "completions/mean_length"):
            assert ours[metric] == pytest.approx(theirs[metric], rel=1e-4), metric
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=LOSSES, abs=1e-7)
    assert samples(two) == samples(one)


def coding(root: Path, model: Path) -> tuple[Graded, Step]:
    tests = {"tests": "assert f(1) == 2\nassert f(5) == 6", "entry_point": "f"}
    rows = [make_row("code", {"prompt": [{"role": "user", "content": f"Add, {n}."}], **tests}) for n in range(9)]
    lab = Graded(root, model, rows, stop_token_ids=[IM_END])
    step = lab.reward(bf16=False)
    rewards = [{"reward": "unit_tests", "weight": 1.0, "version": 1, "params": {}}]
    return lab, replace(step, params={**step.params, "rewards": rewards}, pins={})


@pytest.mark.usefixtures("sandbox")
def test_programs_are_run_in_the_sandbox_from_each_process_and_counted_once(
    tmp_path: Path, lab: Graded, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder, step = coding(tmp_path, lab.base.path / "model")
    monkeypatch.setattr(Generating, "_generate_single_turn", Generating._generate_single_turn)
    planted.give_answers(planted.a_program)
    one = coder.train(step, "one")
    assert set(one.facts["rewards"]["unit_tests"]) == {"wrong answer", "ZeroDivisionError", "SyntaxError"}
    plant(monkeypatch, "given programs")
    with pytest.raises(Interrupted):
        coder.train(shares(step), "two", **stop_after(coder, 2))
    two = coder.train(shares(step), "two")
    assert two.facts["rewards"] == one.facts["rewards"]
    assert samples(two) == samples(one)


def test_out_of_memory_in_one_process_leaves_the_answers_of_each_step_as_they_are(
    lab: Graded, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = lab.reward(bf16=False, steps_per_generation=4)
    monkeypatch.setattr(Generating, "_generate_single_turn", Generating._generate_single_turn)
    planted.give_answers(planted.a_few_words)
    one = lab.train(step, "one generation for two steps")
    plant(monkeypatch, "given answers+asks too much")
    two = lab.train(shares(step), "too much")
    assert two.facts["out_of_memory"] == {MICRO: 4, STEPS: 2}
    assert samples(two) == samples(one)


def test_two_processes_sample_answers_of_their_own_and_the_reward_rises(lab: Graded) -> None:
    trained = lab.train(shares(lab.reward(bf16=False, max_steps=20)), "sampled")
    told = trained.facts["objective"]
    assert told["reward"]["last"] > told["reward"]["first"] + 0.15


@pytest.mark.parametrize(("name", "hints"), [("ddp", {}), ("fsdp2", FSDP)])
def test_killed_it_goes_on_with_the_same_answers(lab: Graded, name: str, hints: dict[str, Any]) -> None:
    step = shares(lab.reward(bf16=False, max_steps=4, num_iterations=2), **hints)
    whole = lab.train(step, f"{name}-whole")
    with pytest.raises(Interrupted):
        lab.train(step, f"{name}-stopped", **stop_after(lab, 3))
    ended = lab.train(step, f"{name}-stopped")
    assert [event["reward"] for event in events(ended)] == [event["reward"] for event in events(whole)]
    assert adapter_bytes(ended) == adapter_bytes(whole)
    assert samples(ended) == samples(whole)
    assert ended.facts == whole.facts


def test_what_one_began_two_end_with_answers_of_their_own(lab: Graded) -> None:
    step = lab.reward(bf16=False, max_steps=4)
    with pytest.raises(Interrupted):
        lab.train(step, "handed over", **stop_after(lab, 2))
    lab.train(shares(step), "handed over")
