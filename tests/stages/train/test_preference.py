"""What holds for every preference method: equal bytes after a kill, and what is told while planning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stages.base.desk import PlainDesk, family
from tests.stages.train.judged import labelled, pairs
from tests.stages.train.lab import Lab, adapter_bytes
from tests.stages.train.test_resume import Killed, killer
from variantforge.spec.family import RowsDataset
from variantforge.spec.trainer_args import argument_problems
from variantforge.stages.stage import Place
from variantforge.stages.train.dpo import LOSSES
from variantforge.stages.train.stage import STAGE
from variantforge.step import Artifact, Step

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


def events(trained: Artifact) -> list[dict[str, Any]]:
    """Everything that was logged, but for how fast it went, and a mean that transformers takes since the last start."""
    told = [json.loads(line) for line in (trained.path / "events.jsonl").read_text().splitlines()]
    timed = ("train_loss", "tokens_per_s", "train_runtime", "train_samples_per_second", "train_steps_per_second")
    return [{name: value for name, value in event.items() if name not in timed} for event in told]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("judged"), tiny_llama, pairs(9))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto", "orpo"])
def test_a_killed_run_ends_with_the_same_bytes_and_the_same_log(lab: Lab, method: str) -> None:
    """Dropout draws random numbers at each step; 9 pairs make two epochs, of ragged batches."""
    step = lab.step({"dropout": 0.1, "r": 4}, method=method, disable_dropout=False)
    whole = lab.train(step, f"{method}-whole")
    steps = whole.facts["steps"]
    for at in (2, steps // 2 + 1, steps - 1):
        with pytest.raises(Killed):
            lab.train(step, f"{method}-killed", emit=killer(at))
    again = lab.train(step, f"{method}-killed")
    assert adapter_bytes(again) == adapter_bytes(whole)
    assert again.facts == whole.facts
    assert events(again) == events(whole)


@pytest.mark.slow
def test_a_reference_that_follows_the_model_is_part_of_a_checkpoint(lab: Lab) -> None:
    moving = {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.9}
    step = lab.step({"type": "full"}, method="dpo", **moving)
    whole = lab.train(step, "moving-whole")
    with pytest.raises(Killed):
        lab.train(step, "moving-killed", emit=killer(4))
    again = lab.train(step, "moving-killed")
    assert events(again) == events(whole)
    still = lab.train(lab.step({"type": "full"}, method="dpo"), "still")
    assert events(still) != events(whole)


def test_rows_judged_one_by_one_cannot_be_compared(tmp_path: Path, tiny_llama: Path) -> None:
    from variantforge.errors import WrongRows

    lab = Lab(tmp_path, tiny_llama, labelled(3))
    for method in ("dpo", "orpo"):
        with pytest.raises(WrongRows, match="of the kind unpaired_preference"):
            lab.train(lab.step(method=method))


# --- while planning -----------------------------------------------------------------------------------------------


def problems(tmp_path: Path, method: str, format: Any = "", adapter: Any = None, **args: Any) -> list[str]:
    """What planning one variant of that method says."""
    desk = desk_of(tmp_path, {"method": method, "args": args, "adapter": adapter or {}}, format)
    return [f"{key}: {text}" for key, text in desk.problems]


def desk_of(tmp_path: Path, train: dict[str, Any], format: Any = "") -> PlainDesk:
    """After the train stage has planned one variant whose rows are declared to have that format."""
    spec = family("./b", {"v": {"train": train}})
    if format:
        spec = spec.model_copy(update={"datasets": {"d": RowsDataset(path="./d.jsonl", format=format)}})
    desk = PlainDesk(spec, tmp_path, at_key="variants.v")
    desk.add(Place("base", "v"), Step("base", 1, "folder"))
    desk.add(Place("data", "v", "mix"), Step("data", 1, "mix"))
    STAGE.plan(desk, "v", spec.variants["v"])
    return desk


@pytest.mark.parametrize(
    ("method", "format", "told"),
    [
        ("dpo", "messages", "holds rows of the kind messages; dpo learns from preference"),
        ("dpo", "unpaired_preference", "dpo learns from preference"),
        ("orpo", "text", "orpo learns from preference"),
        ("kto", "alpaca", "kto learns from unpaired_preference or preference"),
        ("continued", "messages", "continued learns from text"),
        ("sft", "preference", "sft learns from messages or text"),
    ],
)
def test_rows_of_a_wrong_kind_are_told_while_planning(tmp_path: Path, method: str, format: str, told: str) -> None:
    (problem,) = problems(tmp_path, method, format)
    assert told in problem
    assert ".data.mix." in problem


@pytest.mark.parametrize(
    ("method", "format"), [("dpo", "preference"), ("kto", "preference"), ("kto", "auto"), ("continued", "text")]
)
def test_rows_of_a_right_or_unknown_kind_are_planned(tmp_path: Path, method: str, format: str) -> None:
    assert problems(tmp_path, method, format) == []


@pytest.mark.parametrize(
    ("method", "args", "told"),
    [
        ("dpo", {"loss_type": ["sigmod"]}, "loss_type: 'sigmod' is not a loss of DPO's. Did you mean 'sigmoid'?"),
        ("dpo", {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "2 losses in loss_type, but 1 weights"),
        ("dpo", {"loss_type": ["exo_pair"]}, "exo_pair needs label_smoothing"),
        ("dpo", {"sync_ref_model": True}, "sync_ref_model: with an adapter the reference is the base itself"),
        ("kto", {"sync_ref_model": True}, "sync_ref_model: with an adapter the reference is the base itself"),
        ("kto", {"per_device_train_batch_size": 1}, "compares answers within a batch: 2 or more"),
        ("kto", {"train_sampling_strategy": "random"}, "train_sampling_strategy: kto keeps rows in the order"),
    ],
)
def test_arguments_that_cannot_work_are_told_while_planning(
    tmp_path: Path, method: str, args: dict[str, Any], told: str
) -> None:
    (problem,) = problems(tmp_path, method, **args)
    assert problem.startswith("variants.v.train.args.")
    assert told in problem


def test_what_works_is_planned(tmp_path: Path) -> None:
    assert problems(tmp_path, "dpo", loss_type=["exo_pair"], label_smoothing=0.001) == []
    assert problems(tmp_path, "dpo", adapter={"type": "full"}, sync_ref_model=True) == []
    both = {"sync_ref_model": True, "precompute_ref_log_probs": True}
    (problem,) = problems(tmp_path, "kto", adapter={"type": "full"}, **both)
    assert "cannot be worked out beforehand" in problem
    assert problems(tmp_path, "kto", loss_type="apo_zero_unpaired", per_device_train_batch_size=1) == []


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_an_adapter_on_the_head_is_told_where_trl_would_not_train_it(tmp_path: Path, method: str) -> None:
    adapter = {"target_modules": ["q_proj", "lm_head"]}
    (problem,) = problems(tmp_path, method, adapter=adapter)
    assert "an adapter on lm_head would not be trained" in problem
    assert problems(tmp_path, "orpo", adapter=adapter) == []


def test_each_method_makes_another_step(tmp_path: Path) -> None:
    keys = set()
    for method in ("sft", "continued", "dpo", "kto", "orpo"):
        desk = desk_of(tmp_path, {"method": method})
        assert not desk.problems
        keys.add(desk.steps[Place("train", "v")].key)
    assert len(keys) == 5


def test_the_losses_known_here_are_those_of_the_installed_trl() -> None:
    """TRL names them in its own refusal."""
    from importlib.util import find_spec

    source = Path(str(find_spec("trl").submodule_search_locations[0])) / "trainer" / "dpo_trainer.py"  # type: ignore[union-attr,index]
    text = source.read_text()
    refusal = text[text.index("Should be one of [") :].partition("]")[0]
    assert tuple(refusal.split("'")[1::2]) == LOSSES


@pytest.mark.parametrize(
    ("method", "name", "value", "told"),
    [
        ("dpo", "beta", 0.2, ""),
        ("dpo", "bta", 0.2, "unknown argument of TRL's DPOConfig. Did you mean 'beta'?"),
        ("dpo", "packing", True, "unknown argument of TRL's DPOConfig"),
        ("dpo", "precompute_ref_log_probs", True, ""),
        ("dpo", "padding_free", True, "cannot be set: TRL's DPOTrainer has no batches without padding"),
        ("dpo", "model_init_kwargs", {}, "cannot be set: variantforge loads the base itself"),
        ("dpo", "dataset_num_proc", 4, "cannot be set: variantforge tokenizes the rows itself"),
        ("sft", "padding_free", True, ""),
        ("kto", "desirable_weight", 1.3, ""),
        ("kto", "loss_type", "ktoo", "is none of"),
        ("kto", "trust_remote_code", True, "code that comes with a model is never run"),
        ("orpo", "generate_during_eval", True, "answers are generated in the evaluate stage"),
        ("orpo", "max_completion_length", 9, "it is for encoder-decoders"),
        ("orpo", "loss_type", ["x"], "unknown argument of TRL's ORPOConfig"),
    ],
)
def test_arguments_are_those_of_the_methods_own_config(method: str, name: str, value: Any, told: str) -> None:
    found = [text for _, text in argument_problems(method, {name: value})]
    assert len(found) == bool(told)
    assert all(told in text for text in found)
