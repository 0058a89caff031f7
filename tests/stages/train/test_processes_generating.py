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
    TENSORS,
    adapters_apart,
    assert_same,
    plant,
    shares,
    stop_after,
)
from variantforge.errors import Interrupted
from variantforge.stages.rows import make_row
from variantforge.stages.train.generating import Generating
from variantforge.step import Artifact, Step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]

DIVERGENCES = 1e-4  # a divergence is a small difference of large numbers; seen is 1e-5


# --- distill --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> School:
    root = tmp_path_factory.mktemp("together")
    return School(root, tiny_llama, opinionated(root / "opinionated"))


@pytest.fixture(scope="module")
def by_one(school: School) -> Artifact:
    return school.taught(by_rows(school), "one")


def by_rows(school: School) -> Step:
    return school.lesson(ROWS, bf16=False, max_completion_length=64, num_train_epochs=1)


def assert_as_near(two: Artifact, one: Artifact) -> None:
    assert_same(two, one, losses_within=DIVERGENCES)
    told, alone = two.facts["objective"]["kl"], one.facts["objective"]["kl"]
    assert told == pytest.approx(alone, rel=DIVERGENCES)
    assert told["last"] < 0.9 * told["first"]


def test_two_processes_come_as_near_to_the_teacher_as_one_also_when_they_are_stopped(
    school: School, by_one: Artifact
) -> None:
    with pytest.raises(Interrupted, match="training stopped at step 3 of 5"):
        school.taught(shares(by_rows(school)), "ddp", **stop_after(school, 2))
    two = school.taught(shares(by_rows(school)), "ddp")
    assert "going on from checkpoint-3" in school.notes
    assert_as_near(two, by_one)


def test_a_student_in_shards_comes_as_near_to_the_teacher(school: School, by_one: Artifact) -> None:
    assert_as_near(school.taught(shares(by_rows(school), **FSDP), "fsdp2"), by_one)


def test_a_student_in_shards_answers_by_itself_in_bf16_and_comes_nearer(school: School) -> None:
    step = shares(school.lesson({"adapter": {"dropout": 0.1}}, bf16=True, num_train_epochs=1), **FSDP)
    trained = school.taught(step, "answers")
    told = trained.facts["objective"]
    assert trained.facts["precision"] == "bf16"
    assert told["kl"]["last"] < 0.97 * told["kl"]["first"]
    assert told["completions/mean_length"]["first"] > 1


# --- grpo -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Graded:
    root = tmp_path_factory.mktemp("graded")
    return Graded(root, small_model(root / "model"), prompts(), stop_token_ids=[IM_END])


def given(lab: Graded, step: Step, answer: Any) -> Artifact:
    """What one process learns from given answers."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Generating, "_generate_single_turn", None)
        planted.give_answers(answer)
        return lab.train(step, "given")


def assert_moved_alike(two: Artifact, one: Artifact) -> None:
    """Loss and gradient of every step, the adapter, and what was kept of answers and rewards."""
    for ours, theirs in zip(events(two), events(one), strict=True):
        for metric in ("reward", "reward_std", "grad_norm", "completions/mean_length"):
            assert ours[metric] == pytest.approx(theirs[metric], rel=1e-4), metric
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=LOSSES, abs=1e-7)
    assert adapters_apart(two, one) <= TENSORS
    assert samples(two) == samples(one)
    assert two.facts["rewards"] == one.facts["rewards"]
    assert two.facts["supervised_tokens"] == one.facts["supervised_tokens"]


def test_the_same_answers_move_two_processes_as_they_move_one(lab: Graded, monkeypatch: pytest.MonkeyPatch) -> None:
    one = given(lab, lab.reward(bf16=False), planted.a_few_words)
    plant(monkeypatch, "given answers")
    assert_moved_alike(lab.train(shares(lab.reward(bf16=False)), "ddp"), one)


def coding(root: Path, model: Path) -> tuple[Graded, Step]:
    tests = {"tests": "assert f(1) == 2\nassert f(5) == 6", "entry_point": "f"}
    rows = [make_row("code", {"prompt": [{"role": "user", "content": f"Add, {n}."}], **tests}) for n in range(9)]
    lab = Graded(root, model, rows, stop_token_ids=[IM_END])
    step = lab.reward(bf16=False)
    rewards = [{"reward": "unit_tests", "weight": 1.0, "version": 1, "params": {}}]
    return lab, replace(step, params={**step.params, "rewards": rewards}, pins={})


@pytest.mark.usefixtures("sandbox")
def test_programs_are_run_in_the_sandbox_from_each_process_and_counted_once_also_when_memory_does_not_suffice(
    tmp_path: Path, lab: Graded, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder, step = coding(tmp_path, lab.base.path / "model")
    one = given(coder, step, planted.a_program)
    assert set(one.facts["rewards"]["unit_tests"]) == {"wrong answer", "ZeroDivisionError", "SyntaxError"}
    plant(monkeypatch, "given programs+asks too much")
    two = coder.train(shares(step), "two")
    assert two.facts["out_of_memory"] == {MICRO: 4, STEPS: 2}
    assert_moved_alike(two, one)


@pytest.fixture(scope="module")
def sampled(lab: Graded) -> Artifact:
    return lab.train(shares(rising(lab)), "sampled")


def rising(lab: Graded) -> Step:
    return lab.reward(bf16=False, max_steps=14, num_iterations=2)


def test_two_processes_answer_by_themselves_and_the_reward_rises(lab: Graded, sampled: Artifact) -> None:
    told = sampled.facts["objective"]
    assert told["reward"]["last"] > told["reward"]["first"] + 0.1


def test_a_model_in_shards_writes_the_same_answers(lab: Graded, sampled: Artifact) -> None:
    """The first generation's, before rounding tells the two apart."""
    shards = lab.train(shares(lab.reward(bf16=False, max_steps=2, num_iterations=2), **FSDP), "shards")
    assert [sample["completion"] for sample in samples(shards)] == first_answers(sampled)
    assert losses(shards)[0] == pytest.approx(losses(sampled)[0], rel=LOSSES, abs=1e-6)


def first_answers(trained: Artifact) -> list[str]:
    return [sample["completion"] for sample in samples(trained) if sample["step"] == 1]


def test_killed_between_two_steps_that_learn_from_the_same_answers_they_go_on_with_them(
    lab: Graded, sampled: Artifact
) -> None:
    with pytest.raises(Interrupted, match="training stopped at step 5 of 14"):
        lab.train(shares(rising(lab)), "stopped", **stop_after(lab, 4))
    ended = lab.train(shares(rising(lab)), "stopped")
    assert "going on from checkpoint-5" in lab.notes
    assert losses(ended) == losses(sampled)
    assert adapter_bytes(ended) == adapter_bytes(sampled)
    assert samples(ended) == samples(sampled)
    assert ended.facts == sampled.facts
