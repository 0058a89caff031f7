"""Several processes train what one would: within rounding, whole, and without leaving anything behind.

The stated tolerance, in float32: losses 1e-5 (relative), each tensor of an adapter 1e-4 (relative norm), what the model
then says 1e-4 nats. Seen are 2e-7, 5e-6 and 1e-6: sums in another order. All weights are saved in bf16, where a few
numbers round to the other side: 1e-3 for these. Training in bf16: see IN_BF16; seen are 3e-5 and 3e-4 by DDP, 2e-3 and
2e-2 by FSDP2.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stages.base.desk import family
from tests.stages.train.judged import pairs
from tests.stages.train.lab import Lab, adapter_bytes, losses
from tests.stages.train.planted import TOLD
from tests.stages.train.test_stage import planned
from variantforge.errors import EmptyAdapter, Interrupted, NonFiniteLoss, TrainError, WorkerDied
from variantforge.fsops import write_text
from variantforge.spec.family import FamilySpec, ResourcesSpec
from variantforge.stages.stage import Place
from variantforge.stages.train import checkpoints
from variantforge.stages.train.grpo import Grpo, _wrong_shares
from variantforge.stages.train.order import EpochOrder, FilledOrder
from variantforge.stages.train.processes import Layout, launch, ranks, shared, sharing_problem
from variantforge.stages.train.processes.planning import resource_hints
from variantforge.stages.train.processes.ranks import anyone, summed, told_by_all, world, writes
from variantforge.stages.train.trainer import Careful
from variantforge.step import Artifact, Step

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
slow = pytest.mark.slow
LOSSES, TENSORS, NATS = 1e-5, 1e-4, 1e-4
IN_BF16 = {"ddp": (1e-3, 5e-3), "fsdp2": (1e-2, 1e-1)}  # losses, tensors; FSDP2 computes the adapter's part in bf16 too
FSDP = {"accelerate": {"fsdp": {"version": 2}}}
MICRO, STEPS = "per_device_train_batch_size", "gradient_accumulation_steps"


# --- the global batch -----------------------------------------------------------------------------------------------


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 32))
def test_the_global_batch_stays_whenever_it_can_be_divided(size: int, steps: int, processes: int) -> None:
    own = shared({MICRO: size, STEPS: steps}, processes)
    assert bool(own) == (size * steps % processes == 0)
    if own:
        assert own[MICRO] * own[STEPS] * processes == size * steps
        assert steps % processes or own == {MICRO: size, STEPS: steps // processes}  # micro-batches as they were
    assert bool(own) != bool(sharing_problem({MICRO: size, STEPS: steps}, processes))


def test_what_to_write_instead_is_told() -> None:
    told = sharing_problem({MICRO: 3, STEPS: 3}, 2)
    assert told == (
        "2 processes cannot share a global batch of 9 rows (per_device_train_batch_size 3 x "
        "gradient_accumulation_steps 3): take 3 or 9 processes, or set gradient_accumulation_steps to a multiple of 2"
    )


@given(st.integers(1, 50), st.integers(1, 16), st.integers(0, 3))
def test_a_filled_order_is_the_same_order_and_comes_out_even(rows: int, at_once: int, epoch: int) -> None:
    import torch

    def inner() -> Any:
        return torch.utils.data.RandomSampler(range(rows))

    filled = FilledOrder(inner(), seed=3, rows=at_once)
    filled.set_epoch(epoch)
    positions = list(filled)
    assert len(positions) == len(filled)
    assert len(filled) % at_once == 0
    assert len(filled) - rows < at_once
    assert positions[:rows] == EpochOrder(inner(), seed=3).order(epoch)
    assert set(positions[rows:]) <= {rows}


# --- who is who -----------------------------------------------------------------------------------------------------


def test_each_process_is_told_who_it_is_as_torchrun_tells_it() -> None:
    hints = {"processes": 8, "accelerate": {"machines": 2, "machine_rank": 1, "main_process_ip": "10.0.0.7"}}
    layout = Layout.of({**hints, "max_memory_gb": 3}, {})
    told = layout.environment(2, 29501)
    assert (layout.here, layout.launched, layout.fsdp) == (4, True, None)
    assert {name: told[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")} == {
        "RANK": "6",
        "LOCAL_RANK": "2",
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "4",
    }
    assert (told["MASTER_ADDR"], told["MASTER_PORT"], told["GROUP_RANK"]) == ("10.0.0.7", "29501", "1")


def test_one_process_needs_no_launcher_but_for_deepspeed() -> None:
    assert not Layout.of({}, {}).launched
    assert Layout.of({}, {"deepspeed": {"zero_optimization": {"stage": 2}}}).launched


def test_with_one_process_each_answer_is_its_own() -> None:
    assert (world(), writes(), anyone(True), anyone(False)) == (1, True, True, False)
    assert summed([1.0, 2.5]) == [1.0, 2.5]
    assert told_by_all("me") == ["me"]


def test_nothing_in_the_package_is_moved_to_cuda_by_name() -> None:
    sources = list((Path(launch.__file__).parents[4]).rglob("*.py"))
    assert len(sources) > 100
    assert not [path.name for path in sources if ".cuda()" in path.read_text() or '"cuda:' in path.read_text()]


# --- planning -------------------------------------------------------------------------------------------------------


def spec_of(resources: dict[str, Any], **train: Any) -> FamilySpec:
    return family("./b", {"v": {"resources": resources, "train": train}})


def test_how_many_processes_reaches_the_step_as_a_hint_and_changes_no_key(tmp_path: Path) -> None:
    alone = planned(spec_of({}), tmp_path).steps[Place("train", "v")]
    fsdp = {"cpu_offload": True, "auto_wrap_policy": "SIZE_BASED_WRAP", "min_num_params": 10}
    shared = planned(spec_of({"processes": 4, "accelerate": {"fsdp": fsdp}}), tmp_path)
    step = shared.steps[Place("train", "v")]
    assert not shared.problems
    assert (alone.hints, step.key) == ({}, alone.key)
    assert step.hints == {"processes": 4, "accelerate": {"fsdp": {"version": 2, **fsdp}}}
    assert Layout.of(step.hints, {}).fsdp == {"version": 2, **fsdp}
    assert Layout.of(ddp_of(tmp_path).hints, {}).fsdp is None


def ddp_of(tmp_path: Path) -> Step:
    return planned(spec_of({"processes": 2}), tmp_path).steps[Place("train", "v")]


@pytest.mark.parametrize(
    ("resources", "train", "key", "told"),
    [
        ({"processes": 3}, {}, "resources.processes", "cannot share a global batch of 16 rows"),
        (
            {"processes": 2},
            {"args": {MICRO: 1, STEPS: 3}},
            "resources.processes",
            "take 3 processes, or set",
        ),
        ({"accelerate": {"fsdp": {}}}, {}, "resources.accelerate", "set resources.processes, too"),
        (
            {"processes": 2, "accelerate": {"fsdp": {}}},
            {"adapter": {"type": "qlora"}},
            "resources.accelerate.fsdp",
            "weights in NF4 are not sharded",
        ),
        (
            {"processes": 2, "accelerate": {"fsdp": {}}},
            {"adapter": {"type": "loha"}},
            "resources.accelerate.fsdp",
            "adapters of the type loha are not sharded",
        ),
        (
            {"processes": 4, "accelerate": {"machines": 3, "main_process_ip": "10.0.0.1", "main_process_port": 29500}},
            {},
            "resources.processes",
            "cannot be spread evenly over 3 machines",
        ),
        ({"processes": 2}, {"args": {"dataloader_drop_last": True}}, "train.args.dataloader_drop_last", "remove it"),
        (
            {"processes": 2},
            {"args": {"accelerator_config": {"split_batches": True}}},
            "train.args.accelerator_config",
            "'split_batches' would give other rows",
        ),
        (
            {"processes": 2},
            {"method": "distill", "args": {"use_vllm": True}},
            "train.args.use_vllm",
            "remove it, or resources.processes",
        ),
        (
            {"processes": 2},
            {"method": "grpo", "args": {"steps_per_generation": 3}},
            "train.args.steps_per_generation",
            "set a multiple of 2",
        ),
        ({}, {"args": {"deepspeed": {"stage": 2}}}, "train.args.deepspeed", "pip install deepspeed"),
    ],
)
def test_what_cannot_be_shared_is_told_while_planning(
    tmp_path: Path, resources: dict[str, Any], train: dict[str, Any], key: str, told: str
) -> None:
    problems = planned(spec_of(resources, **train), tmp_path).problems
    (text,) = [text for where, text in problems if where == f"variants.v.{key}"]
    assert told in text


def test_a_process_that_was_not_there_draws_numbers_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    place = tmp_path / "checkpoint-1"
    state = {"random": [checkpoints.random_states()]}
    checkpoints.write_checkpoint(place, {"w": torch.zeros(1)}, state, lambda path: write_text(path, "{}"))

    def drawn(rank: int) -> list[float]:
        monkeypatch.setattr(ranks, "rank", lambda: rank)
        Careful()._load_rng_state(str(place))
        numbers: list[float] = torch.rand(4).tolist()
        return numbers

    first = [drawn(rank) for rank in range(3)]
    assert first == [drawn(rank) for rank in range(3)]
    assert len({tuple(numbers) for numbers in first}) == 3


@pytest.mark.parametrize(
    ("processes", "args", "told"),
    [
        (2, {}, {}),
        (2, {"steps_per_generation": 4}, {}),
        (8, {"generation_batch_size": 16}, {}),
        (
            2,
            {"steps_per_generation": 3},
            {"steps_per_generation": "2 processes do 2 of these at once: set a multiple of 2"},
        ),
        (
            8,
            {"steps_per_generation": 2},
            {"steps_per_generation": "8 processes do 4 of these at once: set a multiple of 4"},
        ),
        (4, {"generation_batch_size": 8}, {"generation_batch_size": "4 processes take 16 answers at once"}),
        (2, {"sync_ref_model": True}, {"sync_ref_model": "remove it, or resources.accelerate.fsdp"}),
        (1, {"steps_per_generation": 3, "sync_ref_model": True}, {}),
    ],
)
def test_answers_that_processes_cannot_share_are_told_while_planning(
    processes: int, args: dict[str, Any], told: dict[str, str]
) -> None:
    fsdp = {"fsdp": {}} if args.get("sync_ref_model") else {}
    resources = {"processes": processes, "accelerate": fsdp}
    variant = spec_of(resources, method="grpo", args=args).variants["v"]
    found = dict(_wrong_shares(variant, Grpo.defaults))
    assert found.keys() == told.keys()
    assert all(told[name] in sentence for name, sentence in found.items())


@pytest.mark.parametrize(
    ("accelerate", "told"),
    [
        ({"machines": 2}, "set both"),
        ({"machine_rank": 1}, "the last of 1 is 0"),
        ({"fsdp": {"version": 1}}, "Extra inputs"),
    ],
)
def test_machines_that_would_not_find_each_other_are_refused(accelerate: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ResourcesSpec.model_validate({"processes": 2, "accelerate": accelerate})


# --- the same result ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    return Lab(tmp_path_factory.mktemp("processes"), tiny_llama)


def shares(step: Step, **hints: Any) -> Step:
    """The same step, done by two."""
    shared = replace(step, hints={"processes": 2, **hints})
    assert shared.key == step.key
    return shared


def plain(lab: Lab, adapter: dict[str, Any] | None = None, **args: Any) -> Step:
    return lab.step(adapter, **{"bf16": False, **args})


@pytest.fixture(scope="module")
def one(lab: Lab) -> Artifact:
    return lab.train(plain(lab), "one")


def words(lab: Lab, trained: Artifact) -> Any:
    """What base and adapter say, read from disk."""
    from peft import PeftModel

    from variantforge.stages.models import load_model
    from variantforge.stages.train.adapters.witness import speak

    base: Any = load_model(lab.base.path / "model")
    return speak(PeftModel.from_pretrained(base, trained.path / "adapter"))


def assert_same(
    trained: Artifact,
    one: Artifact,
    file: str = "adapter/adapter_model.safetensors",
    within: float = TENSORS,
    losses_within: float = LOSSES,
) -> None:
    assert losses(trained) == pytest.approx(losses(one), rel=losses_within)
    assert adapters_apart(trained, one, file) <= within
    exact = set(one.facts) - {"loss_first", "loss_last", "objective"}
    assert {name: trained.facts[name] for name in exact} == {name: one.facts[name] for name in exact}


def adapters_apart(trained: Artifact, one: Artifact, file: str = "adapter/adapter_model.safetensors") -> float:
    """The largest relative distance of two tensors of one name; all are there, of one shape and precision."""
    from safetensors.torch import load_file

    ours, theirs = load_file(trained.path / file), load_file(one.path / file)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name].shape, ours[name].dtype) == (tensor.shape, tensor.dtype)
        assert ours[name].numel()
    return max(float((ours[name] - tensor).float().norm() / tensor.norm()) for name, tensor in theirs.items())


@slow
@pytest.mark.parametrize(("name", "hints"), [("ddp", {}), ("fsdp2", FSDP)])
def test_two_processes_give_the_adapter_of_one(lab: Lab, one: Artifact, name: str, hints: dict[str, Any]) -> None:
    lab.events.clear()
    trained = lab.train(shares(plain(lab), **hints), name)
    assert_same(trained, one)
    assert float((words(lab, trained) - words(lab, one)).abs().max()) <= NATS
    assert trained.facts["processes"] == {"count": 2, "sharding": name}
    steps = [event["done"] for event in lab.events if event.get("unit") == "step" and event["metrics"].get("loss")]
    assert steps == list(range(1, 13))  # of one process alone
    assert sorted(path.name for path in trained.path.iterdir()) == sorted(
        path.name for path in one.path.iterdir() if name == "ddp" or path.name != "witness.safetensors"
    )


@slow
@pytest.mark.parametrize(("name", "hints"), [("ddp", {}), ("fsdp2", FSDP)])
def test_in_bf16_two_processes_give_the_adapter_of_one(lab: Lab, name: str, hints: dict[str, Any]) -> None:
    step = lab.step(bf16=True)
    one, two = lab.train(step, "one-bf16"), lab.train(shares(step, **hints), f"{name}-bf16")
    assert one.facts["precision"] == "bf16"
    losses_within, tensors_within = IN_BF16[name]
    assert_same(two, one, within=tensors_within, losses_within=losses_within)


@slow
def test_all_weights_are_saved_whole_from_their_shards(lab: Lab) -> None:
    step = plain(lab, {"type": "full"}, learning_rate=1e-4, num_train_epochs=1)
    two, one = lab.train(shares(step, **FSDP), "full-2"), lab.train(step, "full-1")
    assert_same(two, one, "model/model.safetensors", within=1e-3)


@slow
def test_packed_windows_that_do_not_come_out_even_are_filled_with_nothing(lab: Lab) -> None:
    args = {"packing": True, "max_length": 64, MICRO: 2, STEPS: 1, "num_train_epochs": 1}
    one = lab.train(plain(lab, **args), "packed-1")
    assert_same(lab.train(shares(plain(lab, **args)), "packed-2"), one)


@slow
@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_preferences_are_learned_by_two_as_by_one(tmp_path: Path, tiny_llama: Path, method: str) -> None:
    lab = Lab(tmp_path, tiny_llama, pairs(16))
    step = lab.step(method=method, bf16=False, num_train_epochs=1)
    assert_same(lab.train(shares(step), "two"), lab.train(step, "one"))
    assert not lab.notes


@slow
def test_rows_of_pairs_that_do_not_come_out_even_are_told_of(tmp_path: Path, tiny_llama: Path) -> None:
    lab = Lab(tmp_path, tiny_llama, pairs(7))
    lab.train(shares(lab.step(method="dpo", bf16=False, num_train_epochs=1)))
    assert lab.notes == [
        "the last step of each epoch learns its first row once more, so that all processes have equally many: "
        "7 rows do not come out even"
    ]


# --- going on -------------------------------------------------------------------------------------------------------

DROPOUT = {"dropout": 0.1, "r": 4}  # draws random numbers at each step, in each process its own


def stop_after(lab: Lab, steps: int) -> dict[str, Any]:
    """A training that is asked to stop once it has told of so many steps."""
    told: list[int] = []

    def emit(event: dict[str, Any]) -> None:
        lab.events.append(event)
        if event.get("unit") == "step" and event["metrics"].get("loss"):
            told.append(event["done"])

    return {"emit": emit, "stopping": lambda: bool(told) and told[-1] >= steps}


@slow
@pytest.mark.parametrize(("name", "hints"), [("ddp", {}), ("fsdp2", FSDP)])
def test_a_stopped_training_by_two_goes_on_with_the_same_bytes(lab: Lab, name: str, hints: dict[str, Any]) -> None:
    step = shares(plain(lab, DROPOUT), **hints)
    undisturbed = lab.train(step, f"{name}-undisturbed")
    for steps in (3, 8):  # the second one in the second epoch
        with pytest.raises(Interrupted, match="training stopped at step"):
            lab.train(step, f"{name}-stopped", **stop_after(lab, steps))
    lab.events.clear()
    trained = lab.train(step, f"{name}-stopped")
    assert any(note.startswith("going on from checkpoint-") for note in lab.notes)
    assert losses(trained) == losses(undisturbed)
    assert adapter_bytes(trained) == adapter_bytes(undisturbed)
    assert trained.facts == undisturbed.facts


@slow
def test_what_two_began_one_ends(lab: Lab, one: Artifact) -> None:
    with pytest.raises(Interrupted):
        lab.train(shares(plain(lab)), "handed-over", **stop_after(lab, 7))
    lab.events.clear()
    trained = lab.train(plain(lab), "handed-over")
    assert any(note.startswith("going on from checkpoint-") for note in lab.notes)
    assert_same(trained, one)


# --- what goes wrong ------------------------------------------------------------------------------------------------


def plant(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    script = str(Path(__file__).with_name("planted.py"))
    monkeypatch.setattr(launch, "WORKER", (sys.executable, script, fault))


@pytest.fixture
def childless() -> Iterator[None]:
    yield
    assert not children(os.getpid(), named="planted.py")


def children(parent: int, named: str = "processes.worker") -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                is_ours = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent
                if is_ours and named in (folder / "cmdline").read_text():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


@slow
@pytest.mark.usefixtures("childless")
def test_a_worker_that_is_killed_ends_the_step(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "dies")
    with pytest.raises(WorkerDied, match=r"process 1 of a training by 2 ended without a result \(signal SIG") as caught:
        lab.train(shares(plain(lab)), "dies")
    assert "the last thing that was said" in caught.value.why


@slow
@pytest.mark.usefixtures("childless")
def test_a_worker_that_breaks_is_the_one_that_is_told_of(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "breaks")
    with pytest.raises(WorkerDied, match=r"process 1 failed: KeyError: .of nobody's making"):
        lab.train(shares(plain(lab)), "breaks")


@slow
@pytest.mark.usefixtures("childless")
def test_a_loss_that_is_not_finite_in_one_process_stops_all(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "nan")
    step = shares(plain(lab))
    with pytest.raises(NonFiniteLoss, match="not finite at step 5 of 12") as caught:
        lab.train(step, "nan")
    assert caught.value.why.partition("Its rows: ")[2].count(", ") == 3  # four rows: those of the whole step


@slow
@pytest.mark.usefixtures("childless")
def test_out_of_memory_in_one_process_halves_the_micro_batch_of_all(
    lab: Lab, one: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, "grows")
    lab.events.clear()
    trained = lab.train(shares(plain(lab)), "grows")
    assert trained.facts["out_of_memory"] == {MICRO: 1, STEPS: 2}
    assert losses(trained) == pytest.approx(losses(one), rel=LOSSES)
    assert any(note.startswith("out of memory with per_device_train_batch_size 2") for note in lab.notes)


@slow
@pytest.mark.parametrize(
    ("fault", "told"), [("its shard", r"was saved as \[\d+, \d+\], and"), ("empty", r"was saved as \[0, \d+\], and")]
)
def test_shards_that_were_not_gathered_are_no_adapter(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, fault: str, told: str
) -> None:
    plant(monkeypatch, fault)
    with pytest.raises(EmptyAdapter, match=told) as caught:
        lab.train(shares(plain(lab, max_steps=2), **FSDP), fault)
    assert "were not gathered" in caught.value.why


def _train_and_tell(lab: Lab, step: Step, told: Any) -> None:
    lab.train(step, "orphans", emit=told.send)


@slow
def test_no_worker_outlives_the_step_that_started_it(lab: Lab) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["variantforge.run.heavy"])
    ours, theirs = context.Pipe()
    process = context.Process(target=_train_and_tell, args=(lab, shares(plain(lab)), theirs))
    process.start()
    theirs.close()
    while not ours.recv().get("metrics"):
        pass  # until it trains
    workers = children(int(process.pid or 0))
    assert len(workers) == 2
    os.kill(int(process.pid or 0), signal.SIGKILL)
    process.join()
    for _ in range(100):
        if not any(Path(f"/proc/{worker}").exists() for worker in workers):
            return
        time.sleep(0.1)
    raise AssertionError(f"still there: {workers}")


# --- several machines -----------------------------------------------------------------------------------------------


def _train(lab: Lab, step: Step, place: str) -> None:
    lab.train(step, place)


@slow
def test_two_machines_make_the_same_artifact_each_in_its_own_store(
    lab: Lab, one: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    main = {"machines": 2, "main_process_ip": "127.0.0.1", "main_process_port": port}
    steps = [shares(plain(lab), accelerate={**main, "machine_rank": rank}) for rank in (0, 1)]
    other = multiprocessing.get_context("spawn").Process(target=_train, args=(lab, steps[1], "machine-1"))
    other.start()
    try:
        first = lab.train(steps[0], "machine-0")
        other.join(60)
    finally:
        other.kill()
    second = Artifact(first.key, lab.root / "machine-1" / "train" / first.key)
    assert_same(first, one)
    assert adapter_bytes(first) == adapter_bytes(second)
    assert first.facts == second.facts


def _train_planted(lab: Lab, step: Step, place: str, fault: str) -> None:
    launch.WORKER = (sys.executable, str(Path(__file__).with_name("planted.py")), fault)
    with pytest.raises(TrainError, match="told"):
        lab.train(step, place)


@slow
def test_what_the_family_file_says_of_machines_and_shards_reaches_accelerate(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    fsdp = {"reshard_after_forward": False, "cpu_offload": True, "activation_checkpointing": True}
    fsdp |= {"auto_wrap_policy": "SIZE_BASED_WRAP", "min_num_params": 77}
    main = {"machines": 2, "main_process_ip": "127.0.0.1", "main_process_port": port, "fsdp": fsdp}
    spec = spec_of({"processes": 2, "accelerate": main})
    said = resource_hints(spec.variants["v"].resources)
    hints = [{**said, "accelerate": {**said["accelerate"], "machine_rank": rank}} for rank in (0, 1)]
    steps = [replace(plain(lab), hints=each) for each in hints]
    spawn = multiprocessing.get_context("spawn")
    machines = [
        spawn.Process(target=_train_planted, args=(lab, step, f"told-{rank}", "tells accelerate"))
        for rank, step in enumerate(steps)
    ]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join()
    for rank, step in enumerate(steps):
        lines = (lab.root / f"told-{rank}" / "scratch" / step.key / f"worker-{rank}.txt").read_text().splitlines()
        (told,) = [json.loads(line.removeprefix(TOLD)) for line in lines if line.startswith(TOLD)]
        assert told == {
            "num_processes": 2,
            "process_index": rank,
            "local_process_index": 0,
            "is_main_process": rank == 0,
            "is_local_main_process": True,
            "distributed_type": "FSDP",
            "backend": "gloo",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "fsdp_version": 2,
            "reshard_after_forward": False,
            "activation_checkpointing": True,
            "min_num_params": 77,
            "cpu_offload": "CPUOffloadPolicy",
            "auto_wrap_policy": "size_based_auto_wrap_policy",
        }


@slow
def test_what_the_family_file_says_of_deepspeed_reaches_accelerate(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("deepspeed")
    zero = {"stage": 2, "offload_optimizer": {"device": "cpu"}, "reduce_bucket_size": 1234}
    auto = dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"), "auto")
    step = plain(lab, deepspeed={"zero_optimization": zero, **auto})
    plant(monkeypatch, "tells accelerate")
    with pytest.raises(TrainError, match="told"):
        lab.train(shares(step), "deepspeed")
    lines = (lab.root / "deepspeed" / "scratch" / step.key / "worker-0.txt").read_text().splitlines()
    (told,) = [json.loads(line.removeprefix(TOLD)) for line in lines if line.startswith(TOLD)]
    assert (told["distributed_type"], told["num_processes"]) == ("DEEPSPEED", 2)
    assert {name: told["deepspeed"]["zero_optimization"][name] for name in zero} == zero
    assert told["deepspeed"]["train_micro_batch_size_per_gpu"] == 2
    assert told["deepspeed"]["gradient_accumulation_steps"] == 1


# --- on cards -------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@slow
@pytest.mark.parametrize(("name", "hints"), [("ddp", {}), ("fsdp2", FSDP)])
def test_two_cards_give_the_adapter_of_one(lab: Lab, one: Artifact, name: str, hints: dict[str, Any]) -> None:
    import torch

    if torch.accelerator.device_count() < 2:
        pytest.skip("two devices are wanted")
    trained = lab.train(shares(plain(lab), **hints), f"cards-{name}")
    assert losses(trained) == pytest.approx(losses(one), rel=1e-3)


@pytest.mark.gpu
def test_more_processes_than_cards_are_told_before_anything_starts(lab: Lab) -> None:
    import torch

    there = torch.accelerator.device_count()
    with pytest.raises(TrainError, match=f"{there + 1} processes are asked for"):
        launch._enough_devices(Layout(processes=there + 1))
