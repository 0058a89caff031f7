"""GRPO on a model of some 300 words: the reward rises, a killed run goes on with the same bytes, and what TRL would
refuse late is told while planning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.stages.train.lab import Lab, adapter_bytes
from tests.stages.train.small_words import IM_END, small_model
from variantforge.errors import Interrupted, NothingRewarded, RewardFailed, TrainError, WrongRows
from variantforge.hashing import file_digest, tree_digest
from variantforge.spec.family import TrainSpec
from variantforge.stages.rows import make_row
from variantforge.stages.train.generating import _cut
from variantforge.stages.train.grpo import _wrong_arguments, asked
from variantforge.step import Artifact, Pin, Step

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

CODE = """
def low(completion_ids, **columns):
    '''Lower-case letters and what stands near them in the vocabulary.'''
    return [sum(60 < one < 130 for one in ids) / len(ids) for ids in completion_ids]

def same(completion_ids, **columns):
    return [0.5] * len(completion_ids)

calls = 0
def breaks(completion_ids, **columns):
    global calls
    calls += 1
    if calls > 2:
        raise KeyError("gone")
    return [float(ids[0]) for ids in completion_ids]
"""
ARGS = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
    "max_completion_length": 6,
    "max_steps": 6,
    "learning_rate": 2e-2,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
}


def prompts(count: int = 9) -> list[dict[str, Any]]:
    said = [(f"Say {n}.", str(n)) for n in range(count)]
    return [make_row("ask", {"prompt": [{"role": "user", "content": q}], "answer": a}) for q, a in said]


class Graded(Lab):
    """Steps whose reward is a function of CODE."""

    def reward(self, adapter: dict[str, Any] | None = None, function: str = "low", **args: Any) -> Step:
        file = self.root / "mine.py"
        file.write_text(CODE)
        name = f"./mine.py:{function}"
        told = [{"reward": "python", "weight": 1.0, "version": 1, "params": {"function": name}}]
        pins = {f"code {name}": Pin(tree_digest({file.name: file_digest(file)}), str(self.root))}
        params = {"adapter": adapter or {"r": 8}, "args": {**ARGS, **args}, "recipe": 1, "rewards": told}
        return Step("train", 1, "grpo", params, {"base": self.base.key, "data": self.data.key}, pins)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("words") / "model")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Graded:
    return Graded(tmp_path_factory.mktemp("grpo"), model, prompts(), stop_token_ids=[IM_END])


@pytest.fixture(scope="module")
def trained(lab: Graded) -> Artifact:
    return lab.train(lab.reward(), "trained")


def events(trained: Artifact) -> list[dict[str, Any]]:
    lines = (trained.path / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if "reward" in event]


def samples(trained: Artifact) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trained.path / "completions.jsonl").read_text().splitlines()]


# --- what it does -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [{"r": 8}, {"type": "full"}])
def test_the_reward_rises(lab: Graded, adapter: dict[str, Any]) -> None:
    trained = lab.train(lab.reward(adapter, max_steps=20), "rising " + adapter.get("type", "lora"))
    told = trained.facts["objective"]
    assert told["reward"]["last"] > told["reward"]["first"] + 0.15
    assert told["rewards/python/mean"] == told["reward"]


def test_facts_tell_of_rewards_lengths_and_groups_without_a_difference(trained: Artifact) -> None:
    facts = trained.facts
    assert (facts["steps"], facts["rows"], facts["rows_dropped"]) == (6, 9, 0)
    told = facts["objective"]
    assert set(told) >= {"reward", "rewards/python/mean", "completions/mean_length", "groups_of_one_reward"}
    assert 0 <= told["groups_of_one_reward"] < 1
    assert facts["supervised_tokens"] <= 6 * 16 * ARGS["max_completion_length"]
    assert facts["tokens"] > facts["supervised_tokens"] > 0
    assert facts["rewards"] == {"python": {}}


def test_samples_of_every_step_are_kept(trained: Artifact) -> None:
    kept = samples(trained)
    assert {sample["step"] for sample in kept} == set(range(1, 7))
    assert len(kept) <= 6 * 4
    assert set(kept[0]) == {"step", "row", "prompt", "completion", "rewards", "advantage", "said"}
    assert kept[0]["prompt"].startswith("Say ")
    best, worst = kept[:2]
    assert best["row"] == worst["row"]
    assert best["rewards"]["python"] > worst["rewards"]["python"]


def test_progress_tells_the_reward(lab: Graded, trained: Artifact) -> None:
    steps = [event for event in lab.events if event.get("unit") == "step" and "reward" in event["metrics"]]
    assert set(steps[0]["metrics"]) >= {"reward", "loss", "completions/mean_length"}


def test_the_prompt_is_the_one_of_inference(lab: Graded, model: Path) -> None:
    from variantforge.stages.tokens import load_tokenizer, tokenize_prompt

    tokenizer = load_tokenizer(model)
    ids = tokenize_prompt(tokenizer, [{"role": "user", "content": "Hi"}])
    assert tokenizer.decode(ids) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_of_a_chat_the_last_answer_is_what_rewards_compare_with() -> None:
    turns = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
    row = make_row("chats", {"messages": turns, "tools": [{"type": "function"}]})
    told = asked(row)
    assert (told["prompt"], told["answer"], told["tools"]) == (turns[:1], "4", row["tools"])
    assert asked(prompts(1)[0]) == prompts(1)[0]


# --- going on -----------------------------------------------------------------------------------------------------


def stop_after(steps: int) -> dict[str, Callable[..., Any]]:
    """A context whose user asks to stop once so many steps are done."""
    done = SimpleNamespace(steps=0)

    def emit(event: dict[str, Any]) -> None:
        if event.get("unit") == "step":
            done.steps = max(done.steps, event["done"])

    return {"emit": emit, "stopping": lambda: done.steps >= steps}


@pytest.mark.slow
@pytest.mark.parametrize(
    "args",
    [
        pytest.param({}, id="answered at every step"),
        pytest.param({"num_iterations": 2}, id="answers used twice"),
        pytest.param({"steps_per_generation": 4, "beta": 0.05}, id="answers for two steps, with a reference"),
    ],
)
def test_a_stopped_run_goes_on_with_the_same_bytes(lab: Graded, args: dict[str, Any]) -> None:
    step = lab.reward(max_steps=4, **args)
    whole = lab.train(step, f"whole {args}")
    with pytest.raises(Interrupted):
        lab.train(step, f"stopped {args}", **stop_after(2))
    ended = lab.train(step, f"stopped {args}")
    assert any("going on from checkpoint-" in note for note in lab.notes)
    trace = [[event[name] for name in ("step", "reward", "loss")] for event in events(ended)]
    assert trace == [[event[name] for name in ("step", "reward", "loss")] for event in events(whole)]
    assert adapter_bytes(ended) == adapter_bytes(whole)
    assert samples(ended) == samples(whole)
    assert ended.facts == whole.facts


def test_answers_being_learned_from_are_the_same_in_smaller_micro_batches() -> None:
    import torch

    batches = [{"ids": torch.arange(8).view(4, 2) + 10 * n, "count": torch.tensor(5), "none": None} for n in range(2)]
    cut = _cut(batches, 4)
    assert [piece["ids"].shape for piece in cut] == [(2, 2)] * 4
    assert torch.equal(torch.cat([piece["ids"] for piece in cut]), torch.cat([batch["ids"] for batch in batches]))
    assert [int(piece["count"]) for piece in cut] == [5] * 4
    same = _cut(batches, 2)
    assert all(torch.equal(one["ids"], other["ids"]) for one, other in zip(same, batches, strict=True))


# --- what is refused ----------------------------------------------------------------------------------------------


def test_rewards_that_are_all_the_same_are_an_error(lab: Graded) -> None:
    with pytest.raises(NothingRewarded, match="the same reward") as caught:
        lab.train(lab.reward(function="same", max_steps=1), "same")
    assert "Rewards seen: 0.5" in caught.value.why


def test_a_reward_that_breaks_stops_the_training(lab: Graded) -> None:
    with pytest.raises(RewardFailed, match="KeyError: 'gone'"):
        lab.train(lab.reward(function="breaks"), "breaks")


def test_too_few_prompts_and_wrong_rows_are_told(tmp_path: Path, model: Path) -> None:
    few = Graded(tmp_path / "few", model, prompts(3), stop_token_ids=[IM_END])
    with pytest.raises(TrainError, match="3 prompts are too few: one step answers 4"):
        few.train(few.reward())
    text = Graded(tmp_path / "text", model, [make_row("books", {"text": "Once."})], stop_token_ids=[IM_END])
    with pytest.raises(WrongRows, match="of the kind text"):
        text.train(text.reward())


@pytest.mark.parametrize(
    ("args", "name", "told"),
    [
        ({"num_generations": 1}, "num_generations", "at least 2"),
        ({"num_generations": 3}, "num_generations", "16 answers a step (per_device_train_batch_size 4 x 4)"),
        ({"generation_batch_size": 10}, "generation_batch_size", "10 is no multiple of"),
        ({"generation_batch_size": 8, "steps_per_generation": 2}, "generation_batch_size", "not both"),
        ({"use_vllm": True}, "use_vllm", "vllm is not installed"),
        ({"sync_ref_model": True}, "sync_ref_model", "with beta above 0"),
    ],
)
def test_arguments_that_do_not_go_together_are_told_while_planning(args: dict[str, Any], name: str, told: str) -> None:
    ((argument, sentence),) = _wrong_arguments(TrainSpec(method="grpo", args=args), {"num_generations": 8})
    assert argument == name
    assert told in sentence


def test_the_defaults_go_together() -> None:
    from variantforge.stages.train.grpo import Grpo

    assert not list(_wrong_arguments(TrainSpec(method="grpo"), Grpo.defaults))
